package app

// millrace is the grammar of the operator's command. A command stands here when
// it works.
type millrace struct {
	Up         upCommand         `cmd:"" help:"Run everything in this process, with a broker of its own unless nats.url names one."`
	Publish    publishCommand    `cmd:"" help:"Publish the events of a file."`
	Tail       tailCommand       `cmd:"" help:"Print stored events as they arrive."`
	Apply      applyCommand      `cmd:"" help:"Make streams, partitions and rules on the broker as the configuration says."`
	Rules      rulesCommand      `cmd:"" help:"Check, test and run alert rules."`
	Alerts     alertsCommand     `cmd:"" help:"Look at alerts."`
	Silence    silenceCommand    `cmd:"" help:"Keep receivers from being told of alerts for a time."`
	Receivers  receiversCommand  `cmd:"" help:"List receivers and try them out."`
	Quarantine quarantineCommand `cmd:"" help:"Look at what could not be processed, and give it back."`
	Spool      spoolCommand      `cmd:"" help:"Look into the spool of a publisher."`
	Archive    archiveCommand    `cmd:"" help:"Look into the archive and prove it."`
	Verify     verifyCommand     `cmd:"" help:"Prove that nothing was lost between publishers, streams, quarantine and archive, or name what was."`
	Doctor     doctorCommand     `cmd:"" help:"Look at everything the deployment rests on, and say what is wrong and how to mend it."`
	Config     configCommand     `cmd:"" help:"Check and show the configuration."`
}

// Millrace is the operator's command and, with up, everything in one process.
// It returns the exit code.
func Millrace(p Process) int {
	return run(p, "millrace", "Events in, alerts out, everything kept: a stream processor on NATS JetStream.", &millrace{})
}
