// Package sinks holds the values that cross the borders of the stores: users, items, friendships
// and the rows of analysts. The engines are folders beside this file: sinks/sqlite is the embedded
// one, sinks/qdrant, sinks/neo4j and sinks/clickhouse are the real ones.
//
// What each method of a store promises stands in sinks/sinktest (contracts.go), beside the suites
// that hold every engine to it. Whoever uses a store declares the few methods it calls, in its own
// file.
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
