package app_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dermai/millrace/internal/app"
	"github.com/dermai/millrace/internal/testenv"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"archiver":  func() { os.Exit(app.Archiver(app.OS())) },
		"millrace":  func() { os.Exit(app.Millrace(app.OS())) },
		"processor": func() { os.Exit(app.Processor(app.OS())) },
		"publisher": func() { os.Exit(app.Publisher(app.OS())) },
	})
}

// TestScript runs the programs as an operator does.
func TestScript(t *testing.T) {
	for _, program := range []string{"jq", "zstd", "gzip"} {
		testenv.Need(t, program)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"broker": startBroker, "poison": poison, "eventually": eventually, "freeport": freePort, "mkarchive": mkarchive,
			"losestream": loseStream,
		},
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") == "true",
	})
}
