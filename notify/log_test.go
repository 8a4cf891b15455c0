package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
)

// world is a log, a clock and dice, as the simulations of this package share
// them.
type world struct {
	t      *testing.T
	log    *fencetest.Memory
	rng    *rand.Rand
	now    time.Time
	faults float64 // share of appends that meet a fault
	met    int     // faults
	claims int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, log: &fencetest.Memory{}, rng: rand.New(rand.NewPCG(seed, 3)), now: time.Unix(1_700_000_000, 0)}
	w.log.Fault = func(fence.Message) fencetest.Fault {
		if w.rng.Float64() >= w.faults {
			return fencetest.None
		}
		w.met++
		return []fencetest.Fault{fencetest.LoseAppend, fencetest.LoseAnswer, fencetest.Delay, fencetest.Refuse, fencetest.Full}[w.rng.IntN(5)]
	}
	w.log.Stale = func(string) int {
		if w.rng.Float64() >= w.faults {
			return 0
		}
		return 1 + w.rng.IntN(3)
	}
	w.log.ReadLimit = func(stream string) uint64 {
		info, err := w.log.Info(t.Context(), stream)
		if err != nil || w.rng.Float64() >= w.faults {
			return 0
		}
		return info.Last
	}
	for _, subject := range []string{"alerts.telemetry", "alerts.audit", "notify.team", "deliveries.team"} {
		w.put(subject, schemas.TypeGenesis, nil)
	}
	return w
}

func (w *world) clock() time.Time { return w.now }

// claim is the token source of every machine.
func (w *world) claim() string { w.claims++; return fmt.Sprint("c", w.claims) }

// put stores a message as a stage that is not under test would.
func (w *world) put(subject, kind string, v any) uint64 {
	w.t.Helper()
	var data []byte
	if v != nil {
		var err error
		if data, err = schemas.Encode(v); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.log.Put(fence.Message{Subject: subject, Header: fence.Header{schemas.HeaderType: kind}, Data: data})
}

// deliver lets a delayed append arrive now and then.
func (w *world) deliver() {
	for w.log.Delayed() > 0 && w.rng.Float64() < 0.3 {
		w.log.Deliver(w.rng.IntN(w.log.Delayed()))
	}
}

// stored reads the messages of a type on a subject.
func stored[T any](w *world, subject, kind string) []T {
	w.t.Helper()
	var out []T
	for _, e := range w.entries(schemas.StreamOf(subject)) {
		if e.Subject != subject || e.Header[schemas.HeaderType] != kind {
			continue
		}
		var v T
		if err := schemas.DecodeInto(e.Data, &v); err != nil {
			w.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func (w *world) entries(stream string) []fence.Entry {
	w.t.Helper()
	limit := w.log.ReadLimit
	w.log.ReadLimit = nil
	defer func() { w.log.ReadLimit = limit }()
	entries, err := w.log.Read(w.t.Context(), stream, 1, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	return entries
}

// machine is what is stepped.
type machine interface {
	Step(ctx context.Context) (bool, error)
}

// settle steps a machine until it has nothing more to do. Time passes when it
// waits for it.
func (w *world) settle(m machine) {
	w.t.Helper()
	for idle := 0; idle < 3; {
		busy, err := m.Step(w.t.Context())
		if fence.IsIncident(err) {
			w.t.Fatal(err)
		}
		if idle++; busy || err != nil {
			idle = 0
		}
		w.now = w.now.Add(10 * time.Minute)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
