package backtest_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/schemas"
)

// TestRecordedDay decides a recorded day again, the whole of it and from many
// moments on, and compares with what was decided live.
func TestRecordedDay(t *testing.T) {
	d := record(t, 24*time.Hour)
	live := d.decided(t)
	if d.crashes < 20 || len(live) < 100 {
		t.Fatalf("%d crashes and %d transitions: the day was too quiet to prove anything", d.crashes, len(live))
	}
	t.Run("whole", func(t *testing.T) {
		cfg := backtest.Config{Source: d.source(), Check: true}
		got, sum, err := run(t, cfg)
		if err != nil {
			t.Fatal(err)
		}
		want := between(live, 0, min(sum.Classes[0].To, sum.Classes[1].To)+1)
		if err := reference.Differ("backtest", want, got); err != nil {
			t.Error(err)
		}
		if n := sum.Classes[0].Checked + sum.Classes[1].Checked; n != int64(len(got)) || len(live)-len(got) > 3 {
			t.Errorf("of %d transitions %d were compared: %+v", len(live), n, sum)
		}
	})
	t.Run("from some moment on", func(t *testing.T) {
		for range 6 {
			from := d.now - d.Int64N(int64(23*time.Hour))
			to := min(from+d.Int64N(int64(6*time.Hour))+int64(time.Minute), d.now-int64(10*time.Minute))
			got, _, err := run(t, backtest.Config{Source: d.source(), From: from, To: to, Check: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := reference.Differ("backtest", between(live, from, to), got); err != nil {
				t.Errorf("from %v to %v: %v", time.Unix(0, from).UTC(), time.Unix(0, to).UTC(), err)
			}
		}
	})
	t.Run("one event is missing", func(t *testing.T) {
		i := slices.IndexFunc(live, func(t schemas.Transition) bool { return len(t.Evidence) > 0 })
		_, _, err := run(t, backtest.Config{Source: without{d.source(), live[i].Evidence[0].Order}, Check: true})
		if differs := (*backtest.DifferError)(nil); !errors.As(err, &differs) || differs.Tick != live[i].Tick {
			t.Errorf("an event of tick %d is missing: %v", live[i].Tick, err)
		}
	})
}

func (d *day) source() backtest.Source { return &backtest.Archive{Store: d.store} }

// decided is what was decided live, in the order of ticks.
func (d *day) decided(t *testing.T) (list []schemas.Transition) {
	t.Helper()
	for _, c := range schemas.Classes {
		found, _, err := reference.Decided(t.Context(), d.log, c)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, found...)
	}
	slices.SortStableFunc(list, func(a, b schemas.Transition) int { return int(a.Tick - b.Tick) })
	return list
}

// between are the transitions of a range.
func between(list []schemas.Transition, from, to int64) []schemas.Transition {
	return slices.DeleteFunc(slices.Clone(list), func(t schemas.Transition) bool { return t.Time < from || t.Time >= to })
}

func run(t *testing.T, cfg backtest.Config) (list []schemas.Transition, sum backtest.Summary, err error) {
	t.Helper()
	sum, err = backtest.Run(t.Context(), cfg, func(t schemas.Transition) error {
		list = append(list, t)
		return nil
	})
	return list, sum, err
}

// without is a source that has lost one event.
type without struct {
	backtest.Source
	at schemas.Order
}

func (w without) Messages(ctx context.Context, stream string, since int64) iter.Seq2[*archive.Record, error] {
	return func(yield func(*archive.Record, error) bool) {
		for r, err := range w.Source.Messages(ctx, stream, since) {
			if err == nil && stream == w.at.Partition.Stream() && r.Seq == w.at.Seq {
				body, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
				if err != nil {
					body = r.Payload
				}
				lines := bytes.SplitAfter(body, []byte("\n"))
				lines[w.at.Index] = []byte("{}\n")
				r.Payload = bytes.Join(lines, nil)
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
