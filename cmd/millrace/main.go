// Command millrace is Millrace in one process, and the operator's tool.
//
// Usage:
//
//	millrace [flags] COMMAND
//
// Commands:
//
//	up [--demo] [--data DIR]                 everything in this process
//	publish [--follow] FILE|-                publish the events of a file
//	tail [--since TIME] [--where EXPR]       print stored events as they arrive
//	apply [--dry-run]                        make streams, partitions, rules
//	rules check [--against EVENTS] [FILE...] check rule files
//	rules test FILE...                       run tests of rules
//	rules run [--rules FILE] EVENTS...       decide recorded events
//	rules backtest|diff                      decide archived events again
//	alerts ls|show                           what fires, and who was told
//	silence add|ls|rm                        keep alerts from being told
//	receivers ls                             who is told, and by which routes
//	receivers test [NAME...]                 send a test notification
//	quarantine ls|show|redrive               what could not be processed
//	spool ls|check                           what waits on this machine
//	archive ls|cat|query|export              look into the archive
//	archive flush|compact|retain|lifecycle   look after it
//	archive hold add|ls|rm                   legal holds
//	archive replay|restore                   put streams back from it
//	archive verify                           prove the archive
//	verify                                   prove that nothing was lost
//	doctor                                   what is wrong, and its mend
//	config check|show                        the configuration in force
//
// `millrace COMMAND --help` says more. With -o json every command prints one
// JSON object a line.
//
// Settings come from flags, the environment (MILLRACE_..., and the names that
// applications have already: NATS_URL, LOG_LEVEL, ...) and a file,
// millrace.yaml or --config FILE, in this order of strength.
//
// It exits with 0 when all is fine, with 1 when it found something wrong, and
// with 2 when it could not do its work. The first SIGINT or SIGTERM makes it
// finish what is in hand, the second ends it at once.
package main

import (
	"os"

	"github.com/dermai/millrace/internal/app"
)

func main() { os.Exit(app.Millrace(app.OS())) }
