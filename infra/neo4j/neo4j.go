// Package neo4j holds the constraints and indexes of the friendship graph as numbered Cypher files.
// They can be run by hand with cypher-shell; "slipstream migrate" runs them.
package neo4j

import "embed"

// Files are the numbered files, each one statement that is a no-op when it has been run before.
//
//go:embed *.cypher
var Files embed.FS
