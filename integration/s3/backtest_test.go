package s3_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/backtest/daytest"
)

// On S3, too, a day is decided again as it was, and what is missing of it is named.

func TestRecorded(t *testing.T)   { daytest.Recorded(t, open(t, config(t))) }
func TestDamagedDay(t *testing.T) { daytest.Damaged(t, open(t, config(t))) }

// TestBacktestCommand: the command decides what is in the bucket that it is told of,
// and ends with 1 where that lacks something.
func TestBacktestCommand(t *testing.T) {
	c := config(t)
	d := daytest.Record(t, open(t, c), 3*time.Hour)
	millrace := command(t, c)
	if code, out := millrace("rules", "backtest", "--check"); code != 0 || !strings.Contains(out, "of them as the live system decided") {
		t.Errorf("of a whole archive: %d, %s", code, out)
	}
	lost := d.Damage(t)
	want := fmt.Sprintf("EVENTS_0: the sequences %d to %d are missing", lost.First, lost.Last)
	if code, out := millrace("rules", "backtest", "--check"); code != 1 || !strings.Contains(out, want) {
		t.Errorf("without an object: exit code %d, %s; want 1 and %q", code, out, want)
	}
}
