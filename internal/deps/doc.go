// Package deps holds the direction of imports, as a test.
//
// The invariant: the vocabulary imports nothing of ours, decisions do no I/O,
// and a library that is somebody's own is named by nobody else. What a package
// may import stands in the table of deps_test.go.
package deps
