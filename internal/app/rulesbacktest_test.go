package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/backtest/daytest"
	"github.com/dermai/millrace/internal/app"
)

// TestBacktestDamaged: what the archive lacks is a finding, by its sequences. The same
// on S3 is in integration/s3.
func TestBacktestDamaged(t *testing.T) {
	dir := t.TempDir()
	d := daytest.Record(t, archivetest.OpenBench(t, dir).Store, 3*time.Hour)
	run := func(args ...string) (int, string) {
		var out, said strings.Builder
		code := app.Millrace(app.Process{
			Args:  append([]string{"rules", "backtest", "--set", "archive.dir=" + dir}, args...),
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said,
		})
		return code, said.String()
	}
	if code, said := run("--check"); code != 0 || !strings.Contains(said, "of them as the live system decided") {
		t.Errorf("whole: exit code %d, %s", code, said)
	}
	lost := d.Damage(t)
	want := fmt.Sprintf("EVENTS_0: the sequences %d to %d are missing; archive verify says why\n", lost.First, lost.Last)
	for _, args := range [][]string{nil, {"--check"}} {
		if code, said := run(args...); code != 1 || strings.Count(said, want) != 1 {
			t.Errorf("%v: exit code %d, %s; want 1 and %q", args, code, said, want)
		}
	}
}
