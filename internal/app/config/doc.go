// Package config reads the configuration of every Millrace program: one YAML
// file, the environment and flags over the same fields.
//
// The invariant: what Load returns is valid as a whole, each value comes from
// the strongest place that named it (flag, then environment, then file, then
// default), and Where tells which. A mistake anywhere is an error that names
// its place and the mend; all of them are reported at once, and none of them
// shows a secret.
package config
