// Command publisher takes events in and stores them on the broker.
//
// Usage:
//
//	publisher [flags]
//	publisher [flags] config check|show
//
// It serves POST /v1/events on http.addr (127.0.0.1:8480) and follows the files
// that publisher.follow and publisher.audit name. An answer of 202 means that
// the events are on disk. /livez, /readyz and /metrics are served beside it.
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

func main() { os.Exit(app.Publisher(app.OS())) }
