package s3_test

import (
	"testing"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/retain/retaintest"
)

// On S3, too, what a dry run lists is what goes, what is held stays, and what keeps
// telemetry can name nothing of the audit trail, in one bucket and in two.

func TestPlanIsWhatGoes(t *testing.T) { retaintest.PlanIsWhatGoes(t, bench(t)) }
func TestHolds(t *testing.T)          { retaintest.Holds(t, bench(t)) }
func TestView(t *testing.T)           { retaintest.View(t, bench(t)) }

func TestViewOfTwoBuckets(t *testing.T) {
	c := config(t)
	c.AuditBucket, c.Prefix = newBucket(t), "of/millrace"
	retaintest.View(t, archivetest.NewBenchOn(open(t, c)))
}

func bench(t *testing.T) *archivetest.Bench {
	t.Helper()
	return archivetest.NewBenchOn(open(t, config(t)))
}
