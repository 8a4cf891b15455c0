package app

import (
	"io"
	"os"

	"github.com/dermai/millrace/sinks"
)

// Process is what a program may touch of the process that it runs in.
type Process struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer // what was asked for, and nothing else
	Stderr io.Writer // everything else

	Receivers  map[string]sinks.Builder      // types of receivers, as sinks.Builtin
	EventSinks map[string]sinks.EventBuilder // and of sinks, as sinks.BuiltinEvents
}

// OS is the real process, with the types that are ours.
func OS() Process {
	return Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Receivers: sinks.Builtin(), EventSinks: sinks.BuiltinEvents(),
	}
}

// The exit codes of every program.
const (
	exitFine     = 0
	exitFindings = 1 // it did its work, and found something wrong
	exitFault    = 2 // it could not do its work: usage, configuration, no broker
)

// findingsError ends a command that did its work and found something wrong.
// What was found is said already; the error sums it up.
type findingsError string

func (e findingsError) Error() string { return string(e) }
