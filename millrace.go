// Package millrace is the programs that tell receivers, for teams that bring
// receivers of their own.
//
// A receiver is a notify.Receiver with a sinks.Builder that makes it from its
// options; a sink of events is a sinks.EventSink with a sinks.EventBuilder. A
// program of yours is ours with these types beside the ones that it has:
//
//	func main() {
//		own := millrace.Types{Receivers: map[string]sinks.Builder{"pager": newPager}}
//		os.Exit(own.Processor(os.Args[1:]))
//	}
//
// Run it in place of processor, and one with Millrace in place of millrace, so
// that `receivers test` knows the types too. sinks/sinkstest is what a receiver
// must pass.
package millrace

import (
	"maps"

	"github.com/dermai/millrace/internal/app"
	"github.com/dermai/millrace/sinks"
)

// Types are types of one's own by the name they have in the configuration. One
// that is named as a type of ours stands in its place.
type Types struct {
	Receivers  map[string]sinks.Builder
	EventSinks map[string]sinks.EventBuilder
}

// Millrace is the command millrace. args are without the program's name. It
// takes signals and the standard streams of the process, and returns the exit
// code.
func (t Types) Millrace(args []string) int { return app.Millrace(t.process(args)) }

// Processor is the daemon processor, likewise.
func (t Types) Processor(args []string) int { return app.Processor(t.process(args)) }

func (t Types) process(args []string) app.Process {
	p := app.OS()
	p.Args = args
	maps.Copy(p.Receivers, t.Receivers)
	maps.Copy(p.EventSinks, t.EventSinks)
	return p
}
