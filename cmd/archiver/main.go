// Command archiver keeps every stored event in the archive.
//
// Usage:
//
//	archiver [flags]
//	archiver [flags] config check|show
//
// Any number of archivers may run; they race harmlessly for each object. What is
// archived and no longer needed is trimmed from the streams. /livez, /readyz and
// /metrics are served on http.addr (127.0.0.1:8482).
//
// Settings come from flags, the environment and millrace.yaml, as for millrace;
// millrace config show prints them. The first SIGINT or SIGTERM makes it store
// what is in hand, the second ends it at once.
package main

import (
	"os"

	"github.com/dermai/millrace/internal/app"
)

func main() { os.Exit(app.Archiver(app.OS())) }
