package notify_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
)

// TestLongestHold: after the last change and that time nothing is held back.
func TestLongestHold(t *testing.T) {
	late := 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 4))
		cfg := randomConfig(t, rng)
		never := time.Duration(0)
		cfg.Route.RepeatInterval = &never
		cfg.Route.Routes[1].GroupWait = []*time.Duration{nil, &never, ptr(90 * time.Second)}[rng.IntN(3)]
		hold := int64(cfg.LongestHold() / time.Second)
		p := newPlanner(t, cfg)
		changes := history(rng, 8, 60)
		last := changes[len(changes)-1].Tick
		for i, d := range decisions(rng, changes, last+hold+1000) {
			for _, n := range p.Feed(uint64(i+1), &d) {
				if n.Tick > last+hold {
					t.Errorf("seed %d: told at %d, held for more than %d after %d", seed, n.Tick, hold, last)
				}
				if n.Tick > last+20 {
					late++
				}
			}
		}
	}
	if late < 10 {
		t.Errorf("only %d notifications were held for long", late)
	}
}

// TestWakes: what a silence held back is told by one of the ticks that Wakes
// asks for, though nothing else happens.
func TestWakes(t *testing.T) {
	told := 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 5))
		cfg := randomConfig(t, rng)
		never := time.Duration(0)
		cfg.Route.RepeatInterval = &never
		p := newPlanner(t, cfg)
		quiet := silences(t, []string{fmt.Sprintf("%d-%d", 20+rng.IntN(30), 60+rng.IntN(100)), "service=~a|b"})
		if _, err := p.Silence(quiet); err != nil {
			t.Fatal(err)
		}
		changes := history(rng, 8, 55)
		last := changes[len(changes)-1].Tick
		seq := uint64(0)
		feed := func(d schemas.Decision) {
			seq++
			for _, n := range p.Feed(seq, &d) {
				if n.Tick > last+int64(cfg.LongestHold()/time.Second) {
					told++
				}
			}
		}
		tick := last + int64(cfg.LongestHold()/time.Second)
		for _, d := range decisions(rng, changes, tick) {
			feed(d)
		}
		for range 20 {
			at, ok := cfg.Wakes().After(quiet, tick*1e9)
			if !ok {
				break
			}
			tick = (at + 1e9 - 1) / 1e9
			feed(schemas.Decision{Class: schemas.Telemetry, Tick: tick, Done: true})
		}
		// Ticks that nobody asked for change nothing any more.
		was := told
		feed(schemas.Decision{Class: schemas.Telemetry, Tick: tick + 5000, Done: true})
		if told != was {
			t.Errorf("seed %d: told only when a later tick came", seed)
		}
	}
	if told < 20 {
		t.Errorf("only %d notifications were held for long", told)
	}
}

func ptr[T any](v T) *T { return &v }
