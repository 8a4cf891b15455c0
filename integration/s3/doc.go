// Package s3 runs the archive on a real S3 store, versitygw, in this process.
//
// The invariant: what the archive's tests ask of a directory, they ask of S3. It
// is a module of its own, so that the store's dependencies stay out of ours.
package s3
