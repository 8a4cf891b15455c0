package app

import (
	"context"
	"os"
	"runtime/debug"
)

// daemon is the grammar of a program that runs one part of the whole. Streams,
// partitions and rules are made by millrace apply.
type daemon[C any] struct {
	Run    C             `cmd:"" default:"withargs" help:"Run until told to stop; this is what is done without a command."`
	Config configCommand `cmd:"" help:"Check and show the configuration."`
}

// Publisher takes events in. It returns the exit code.
func Publisher(p Process) int {
	return run(p, "publisher", "Take events in over HTTP and from log files, and store them.", &daemon[publisherRun]{})
}

type publisherRun struct{}

func (publisherRun) Run(ctx context.Context, s *session) error {
	return s.serve(ctx, "publisher", func(n *node) []func(context.Context) error {
		return []func(context.Context) error{n.publish}
	})
}

// Processor runs the rules and sends notifications. It returns the exit code.
func Processor(p Process) int {
	return run(p, "processor", "Run the rules over what is stored, and send notifications.", &daemon[processorRun]{})
}

type processorRun struct{}

func (processorRun) Run(ctx context.Context, s *session) error {
	return s.serve(ctx, "processor", func(n *node) []func(context.Context) error {
		return []func(context.Context) error{n.process, n.answer(processorAddr)}
	})
}

// Archiver keeps everything. It returns the exit code.
func Archiver(p Process) int {
	return run(p, "archiver", "Keep everything that is stored in the archive.", &daemon[archiverRun]{})
}

type archiverRun struct{}

func (archiverRun) Run(ctx context.Context, s *session) error {
	return s.serve(ctx, "archiver", func(n *node) []func(context.Context) error {
		return []func(context.Context) error{n.keep, n.answer(archiverAddr)}
	})
}

// memoryLimit is where a daemon collects garbage rather than grow, in bytes. With
// the program itself it stays below 256 MiB. GOMEMLIMIT, if it is set, wins.
const memoryLimit = 192 << 20

// serve runs the parts of a daemon, connected to the broker, until ctx ends.
func (s *session) serve(ctx context.Context, name string, parts func(*node) []func(context.Context) error) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	n := s.newNode(name)
	n.later = name == "publisher" && s.config.Publisher.Spool.Enabled
	if err := n.connect(ctx, nil); err != nil {
		return err
	}
	defer n.conn.Close()
	defer context.AfterFunc(ctx, n.health.Drain)()
	return runInTurn(ctx, s.log, parts(n)...)
}

// answer is the part that serves health and metrics.
func (n *node) answer(defaultAddr string) func(context.Context) error {
	return func(ctx context.Context) error { return n.listen(ctx, defaultAddr) }
}
