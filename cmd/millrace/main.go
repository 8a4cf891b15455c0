// Command millrace is Millrace in one process, and the operator's tool.
//
// Usage:
//
//	millrace [flags] COMMAND
//
// Commands:
//
//	rules check [FILE...]                    check rule files
//	rules run [--rules FILE] EVENTS.ndjson   decide recorded events
//	config check                             check the configuration
//	config show                              show it, and where it comes from
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
