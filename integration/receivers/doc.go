// Package receivers sends notifications and errors to real servers, so that what
// the tests of package sinks think of the other side is checked against it.
package receivers
