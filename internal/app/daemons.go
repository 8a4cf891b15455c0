package app

import "context"

// The daemons of the distributed system. Each connects to the broker of the
// configuration, on which millrace apply has made the deployment.

// daemon is the grammar of a daemon: it has no commands.
type daemon struct {
	Run daemonCommand `cmd:"" default:"1" hidden:""`
}

// daemonCommand runs one part of the node.
type daemonCommand struct {
	part func(*node) func(context.Context) error `kong:"-"`
	addr string                                  `kong:"-"`
	name string                                  `kong:"-"`
}

func (c *daemonCommand) Run(ctx context.Context, s *session) error {
	n := s.newNode(c.name)
	if err := n.connect(ctx, nil); err != nil {
		return err
	}
	defer n.conn.Close()
	parts := []func(context.Context) error{c.part(n)}
	if c.addr != "" {
		parts = append(parts, func(ctx context.Context) error { return n.serve(ctx, c.addr) })
	}
	return runInTurn(ctx, s.log, parts...)
}

// Publisher is the daemon that takes events in. It returns the exit code.
func Publisher(p Process) int {
	return run(p, "publisher", "Take events in over HTTP and from files, and store them on the broker.", &daemon{daemonCommand{
		name: "publisher",
		part: func(n *node) func(context.Context) error { return n.publish },
	}})
}

// Processor is the daemon that runs rules and tells receivers. It returns the
// exit code.
func Processor(p Process) int {
	return run(p, "processor", "Run alert rules over the stored events and tell receivers; run as many as you like.", &daemon{daemonCommand{
		name: "processor", addr: processorAddr,
		part: func(n *node) func(context.Context) error { return n.process },
	}})
}

// Archiver is the daemon that keeps every event. It returns the exit code.
func Archiver(p Process) int {
	return run(p, "archiver", "Keep every stored event in the archive, and let the streams forget what is kept.", &daemon{daemonCommand{
		name: "archiver", addr: archiverAddr,
		part: func(n *node) func(context.Context) error { return n.keep },
	}})
}
