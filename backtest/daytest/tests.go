package daytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/backtest"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/schemas"
)

// Recorded decides a recorded day again, the whole of it and from many moments on, and
// compares with what was decided live.
func Recorded(t *testing.T, empty archive.Store) {
	t.Helper()
	d := Record(t, empty, 24*time.Hour)
	live := d.decided(t)
	suspect := 0
	for i := range live {
		if live[i].Suspect {
			suspect++
		}
	}
	if d.crashes < 20 || len(live) < 100 || suspect < 10 || suspect > len(live)/2 {
		t.Fatalf("%d crashes and %d transitions, %d of them suspect: the day was too quiet to prove anything", d.crashes, len(live), suspect)
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
	t.Run("behind the archive's end", func(t *testing.T) {
		source := &backtest.Live{Archive: backtest.Archive{Store: d.store}, Log: func() (fence.Log, func()) { return d.log, func() {} }}
		got, _, err := run(t, backtest.Config{Source: source, Check: true, From: d.now - int64(5*time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if err := reference.Differ("backtest", between(live, d.now-int64(5*time.Hour), d.now), got); err != nil {
			t.Error(err)
		}
	})
	t.Run("by other rules", func(t *testing.T) {
		// The first of the day's: nothing differs before they were changed.
		got, _, err := run(t, backtest.Config{Source: d.source(), Rules: rulesOf(false)})
		if err != nil {
			t.Fatal(err)
		}
		changed := d.reloads[0]
		if err := reference.Differ("backtest", between(live, 0, changed), between(got, 0, changed)); err != nil {
			t.Error(err)
		}
		// From a moment on everything is in the windows that was, and alerts are as if
		// decided from the beginning: those that are under way then, once they are over.
		from := changed + int64(3*time.Hour)
		later, _, err := run(t, backtest.Config{Source: d.source(), Rules: rulesOf(false), From: from})
		if err != nil {
			t.Fatal(err)
		}
		over := endOf(between(got, 0, from), between(got, from, d.now))
		if diff := cmp.Diff(turns(behind(over, between(got, from, d.now))), turns(behind(over, later))); diff != "" || len(later) < 20 {
			t.Errorf("from %v on (-whole +cold) %s", time.Unix(0, from).UTC(), diff)
		}
	})
	t.Run("differences", func(t *testing.T) { differences(t, d) })
	t.Run("what is not there", func(t *testing.T) {
		from := d.now - int64(5*time.Hour)
		_, _, err := run(t, backtest.Config{Source: beginning{d.source(), from}, From: from})
		if unknown := (*backtest.UnknownError)(nil); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "begin the range 2h") {
			t.Errorf("the streams begin with the range: %v", err)
		}
		_, sum, err := run(t, backtest.Config{Source: d.source(), From: from, To: d.now + int64(time.Hour)})
		if err != nil || sum.Classes[0].HeldBy == "" {
			t.Errorf("the streams end before the range: %v %+v", err, sum)
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, err = backtest.Run(ctx, backtest.Config{Source: d.source()}, func(schemas.Transition) error { cancel(); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
	})
	t.Run("one event is missing", func(t *testing.T) {
		i := slices.IndexFunc(live, func(t schemas.Transition) bool { return len(t.Evidence) > 0 })
		_, _, err := run(t, backtest.Config{Source: without{d.source(), live[i].Evidence[0].Order}, Check: true})
		if differs := (*backtest.DifferError)(nil); !errors.As(err, &differs) || differs.Tick != live[i].Tick {
			t.Errorf("an event of tick %d is missing: %v", live[i].Tick, err)
		}
	})
	t.Run("a segment is missing", func(t *testing.T) {
		key := d.keys(t, "l1/telemetry/EVENTS_1")[0]
		d.remove(t, key)
		_, _, err := run(t, backtest.Config{Source: d.source(), Check: true})
		if !errors.Is(err, archive.ErrNotFound) || !strings.Contains(err.Error(), key) {
			t.Errorf("%v; want %s named", err, key)
		}
	})
}

func (d *Day) source() backtest.Source { return &backtest.Archive{Store: d.store} }

// Damaged proves that what is missing in the middle is named, and what is decided
// without it no success.
func Damaged(t *testing.T, empty archive.Store) {
	t.Helper()
	d := Record(t, empty, 3*time.Hour)
	want := d.Damage(t)
	for _, check := range []bool{false, true} {
		_, sum, err := run(t, backtest.Config{Source: d.source(), Check: check})
		// Where another stream ends first, the gap may be read, and the rest not.
		if held := sum.Classes[0].HeldBy; err == nil && (check || held == want.Stream) {
			t.Errorf("check %t: it ends well, at %s", check, held)
		}
		if diff := cmp.Diff([]backtest.Missing{want}, sum.Missing); diff != "" {
			t.Errorf("check %t (-want +got) %s", check, diff)
		}
	}
}

// Damage takes the second of three objects of a stream away, and says what it held.
func (d *Day) Damage(t *testing.T) backtest.Missing {
	t.Helper()
	const stream = "EVENTS_0"
	keys := d.keys(t, "l0/telemetry/"+stream)
	if len(keys) != 3 {
		t.Fatalf("%d objects, want 3", len(keys))
	}
	var first [3]uint64
	for i, key := range keys {
		name, err := archive.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		first[i] = name.First
	}
	d.remove(t, keys[1])
	return backtest.Missing{Stream: stream, First: first[1], Last: first[2] - 1}
}

func (d *Day) keys(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	for o, err := range d.store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func (d *Day) remove(t *testing.T, key string) {
	t.Helper()
	if err := d.store.(archive.Remover).Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// decided is what was decided live, in the order of ticks.
func (d *Day) decided(t *testing.T) (list []schemas.Transition) {
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

// endOf gives the ticks at which the alerts end that are under way after some
// transitions, as those that follow say.
func endOf(before, after []schemas.Transition) map[string]int64 {
	over := map[string]int64{}
	for _, t := range before {
		over[t.Alert] = math.MaxInt64
		if t.To == schemas.Inactive {
			delete(over, t.Alert)
		}
	}
	for _, t := range after {
		if t.To == schemas.Inactive && over[t.Alert] == math.MaxInt64 {
			over[t.Alert] = t.Tick
		}
	}
	return over
}

// behind are the transitions of alerts that are over.
func behind(over map[string]int64, list []schemas.Transition) (out []schemas.Transition) {
	for _, t := range list {
		if t.Tick > over[t.Alert] {
			out = append(out, t)
		}
	}
	return out
}

// turns are transitions without what tells instances apart.
func turns(list []schemas.Transition) (out []string) {
	for _, t := range list {
		out = append(out, fmt.Sprint(t.Alert, t.Tick, t.From, t.To, t.N))
	}
	return out
}

// differences compares what rule sets decide of a day.
func differences(t *testing.T, d *Day) {
	t.Helper()
	edited := func(old, with string) *schemas.RuleSource {
		source := rulesOf(false)
		source.Files[0].Text = strings.Replace(source.Files[0].Text, old, with, 1)
		return source
	}
	compare := func(after *schemas.RuleSource) *backtest.Difference {
		diff, err := backtest.Diff(t.Context(), backtest.Config{Source: d.source(), From: d.now - int64(9*time.Hour)}, rulesOf(false), after, 5*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return diff
	}
	if same := compare(edited("team: a", "team: z")); len(same.Changes) > 0 || len(same.Rules) < 4 {
		t.Errorf("labels alone are no difference: %+v", same.Changes)
	}
	of := func(diff *backtest.Difference, rule string) backtest.RuleSum {
		i := slices.IndexFunc(diff.Rules, func(r backtest.RuleSum) bool { return r.Rule == rule })
		return diff.Rules[i]
	}
	later := compare(edited("for: 1m", "for: 3m"))
	if r := of(later, "Errors"); r.Moved < 3 || r.Moved+r.Lost+r.Gained != len(later.Changes) {
		t.Errorf("a longer for moves alerts: %+v", r)
	}
	for _, c := range later.Changes {
		if c.Kind == backtest.Moved && (c.By <= 0 || c.By > 5*time.Minute || c.To != schemas.Firing) {
			t.Errorf("a longer for makes alerts fire later: %+v", c)
		}
	}
	if r := of(compare(edited("fire: \"> 1\", cap: 3", "fire: \"> 1000\", cap: 3")), "Paths"); r.New > 0 || r.Lost != r.Old || r.Old == 0 {
		t.Errorf("a threshold that is never reached loses all: %+v", r)
	}
	unseen := of(compare(edited("cap: 3", "cap: 3, mode: shadow")), "Paths")
	if unseen.Lost+unseen.Gained > 0 || unseen.New != unseen.Old || unseen.OldTold == 0 || unseen.NewTold > 0 {
		t.Errorf("a rule in shadow decides the same and tells nobody: %+v", unseen)
	}
}

// beginning is a source whose streams of events begin with a moment.
type beginning struct {
	backtest.Source
	at int64
}

func (b beginning) Messages(ctx context.Context, stream string, since int64) iter.Seq2[*archive.Record, error] {
	if strings.HasPrefix(stream, "EVENTS_") {
		since = max(since, b.at)
	}
	return b.Source.Messages(ctx, stream, since)
}

func (b beginning) Has(context.Context, string, uint64) (bool, error) { return false, nil }

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
