// Command processor runs alert rules over the stored events and tells receivers.
//
// Usage:
//
//	processor [flags]
//	processor [flags] config check|show
//
// Any number of processors share the work; one that starts takes its part over
// in about a second, and one that dies is replaced in about eight. /livez,
// /readyz and /metrics are served on http.addr (127.0.0.1:8481).
//
// Settings come from flags, the environment and millrace.yaml, as for millrace;
// millrace config show prints them. The deployment must have been made with
// millrace apply. The first SIGINT or SIGTERM makes it finish what is in hand,
// the second ends it at once.
package main

import (
	"os"

	"github.com/dermai/millrace/internal/app"
)

func main() { os.Exit(app.Processor(app.OS())) }
