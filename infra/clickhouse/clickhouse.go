// Package clickhouse holds the migrations of the analysts' database: numbered SQL files, applied in
// order by goose, each statement repeatable so that a migration cut off half way goes on where it
// stopped.
//
// Names are not qualified: they belong to the database of the connection, so a second, whole set of
// tables is a second database.
package clickhouse

import "embed"

// Migrations holds the files NNNN_name.sql.
//
//go:embed *.sql
var Migrations embed.FS
