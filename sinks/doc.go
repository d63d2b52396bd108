// Package sinks holds the types that stores read and write: users, items, friendships and rows for
// analysts. The engines are subpackages: sinks/sqlite is the embedded one, sinks/qdrant,
// sinks/neo4j and sinks/clickhouse are the server engines.
//
// The contract of each method is in sinks/sinktest (contracts.go), with the test suites that every
// engine passes. Each user of a store declares an interface with the few methods that it calls.
//
// All methods of all stores have this in common:
//
//   - They are safe for concurrent use.
//   - They return after the effect is durable.
//   - They neither keep nor change their arguments.
//   - A canceled context ends them soon, with an error of class canceled.
//   - Errors carry a class (fault), given by the engine.
//   - Empty batches are no-ops.
//   - A call that failed, or whose answer was lost, may be repeated: the state is that of one call.
package sinks
