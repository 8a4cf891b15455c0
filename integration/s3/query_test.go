package s3_test

import (
	"strings"
	"testing"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/internal/proof/prooftest"
)

// TestQueryCommand: a query finds each event once, in segments and in objects.
func TestQueryCommand(t *testing.T) {
	c := config(t)
	b, _ := prooftest.Three(t, archivetest.NewBenchOn(open(t, c)))
	b.CompactAll(t, true)
	millrace := command(t, c)
	code, out := millrace("archive", "query", `service == "web" and message == "event 2"`, "--no-live")
	if n := strings.Count(out, "event 2\n"); code != 0 || n != 9 || !strings.Contains(out, "9 events; read 1 of 1 object, 2 of 2 segments ") {
		t.Errorf("exit code %d, %d events\n%s", code, n, out)
	}
}
