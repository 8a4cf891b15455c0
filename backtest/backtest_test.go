package backtest_test

import (
	"testing"
	"time"

	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/schemas"
)

func TestRecordedDay(t *testing.T) {
	began := time.Now()
	d := record(t, 24*time.Hour, t.TempDir())
	t.Logf("recorded in %v, %d crashes", time.Since(began), d.crashes)
	began = time.Now()
	var got []schemas.Transition
	sum, err := backtest.Run(t.Context(), backtest.Config{Source: &backtest.Archive{Store: d.store}}, func(tr schemas.Transition) error {
		got = append(got, tr)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v: %+v", time.Since(began), sum)
	for _, c := range sum.Classes {
		live, _, err := reference.Decided(t.Context(), d.log, c.Class)
		if err != nil {
			t.Fatal(err)
		}
		var mine []schemas.Transition
		for _, tr := range got {
			if (tr.Rule == "Denied") == (c.Class == schemas.AuditTrail) {
				mine = append(mine, tr)
			}
		}
		if err := reference.Differ("backtest", live, mine); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d transitions", c.Class, len(live))
	}
}
