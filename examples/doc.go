// Package examples holds what people try first: the logs that a web application
// writes (logs/), and how to make events of a log that is none of ours
// (accesslog.jq). It has no code but its tests, which make the logs.
//
//	go test ./examples -update   # makes logs/ anew, the same every time
package examples
