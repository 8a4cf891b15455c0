package s3_test

import (
	"strings"
	"testing"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/internal/proof/prooftest"
)

// On S3, too, what is missing is named, and nothing else.

func TestNothingMissing(t *testing.T) { prooftest.NothingMissing(t, bench(t)) }
func TestDamage(t *testing.T)         { prooftest.Damage(t, bench) }

// TestVerifyCommand: the command finds the same in the bucket that it is told of, and
// ends with 1.
func TestVerifyCommand(t *testing.T) {
	c := config(t)
	b, keys := prooftest.Three(t, archivetest.NewBenchOn(open(t, c)))
	millrace := command(t, c)
	if code, out := millrace("verify", "--alone"); code != 0 {
		t.Errorf("of a whole archive: %d, %s", code, out)
	}
	b.Remove(t, keys[1])
	code, out := millrace("verify", "--alone")
	if code != 1 {
		t.Errorf("without an object: exit code %d, want 1", code)
	}
	for _, want := range []string{
		"archive: " + keys[2] + ": sequence 7: the sequences 7 to 12 before it are in no object",
		"frames: events.0.log.web.a: frames 4 to 6 are missing",
		"frames: events.0.log.shop.b: frames 4 to 6 are missing",
		"3 findings",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
}
