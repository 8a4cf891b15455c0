// Package seedapp holds a FastAPI application that logs as the monitoring guide
// says, and the test that takes it from its first request to every receiver and
// into the archive.
//
// The invariant: what the guide gives as code is in the application as it is.
package seedapp
