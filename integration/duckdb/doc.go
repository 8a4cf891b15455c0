// Package duckdb opens segments and exports in DuckDB, by the views that are
// shipped in deploy/views.sql.
//
// The invariant: DuckDB counts what millrace archive query does. It is a module of
// its own, since the engine is large and needs cgo.
package duckdb
