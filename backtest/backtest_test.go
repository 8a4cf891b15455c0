package backtest_test

import (
	"testing"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/backtest/daytest"
)

// What is proven on S3, too, in integration/s3.

func TestRecorded(t *testing.T) { daytest.Recorded(t, archivetest.NewBench(t).Store) }
func TestDamaged(t *testing.T)  { daytest.Damaged(t, archivetest.NewBench(t).Store) }
