// Package deploy runs what is shipped in deploy: a cluster of three servers with
// TLS and one user a role, and the daemons on it, each with the rights of its
// role and no more.
package deploy
