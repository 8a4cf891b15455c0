package stages

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// remembering is a decider with rows that wait, of so many bytes together.
func remembering(t *testing.T, rows, size int) (*engine.Schedule, *engine.Decider) {
	t.Helper()
	s := engine.NewSchedule()
	deployment := schemas.Deployment{Engine: schemas.Engine, Tick: time.Second, Lateness: 1, Delay: 5}
	if err := s.Apply(1, 100e9, &schemas.ControlEntry{Deployment: &deployment}); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(2, 1e15, &schemas.ControlEntry{}); err != nil {
		t.Fatal(err)
	}
	d := engine.NewDecider(s, schemas.Telemetry)
	for i := range rows {
		row := schemas.Row{RowKey: schemas.RowKey{Instance: "r@1", Pane: 200, Visible: 200}}
		row.Fold = schemas.Fold{N: 1, Evidence: []schemas.Evidence{{Fields: map[string]string{"message": strings.Repeat("x", size/rows)}}}}
		row.Visible += int64(i)
		if err := d.Add([]schemas.Row{row}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s, d
}

var someMemory = memory{Chains: map[schemas.Partition]chain{0: {schemas.Position{Seq: 3, Index: 1}, 7}}, Next: 11, Alerts: 12, Changed: 13}

// packed is the content of a checkpoint, written piece by piece.
func packed(t *testing.T, d *engine.Decider) (content []byte) {
	t.Helper()
	p, err := someMemory.pack(d)
	for content == nil && err == nil {
		content, err = p.step(7)
	}
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// state is all of a decider's.
func state(t *testing.T, d *engine.Decider) []byte {
	t.Helper()
	var b bytes.Buffer
	if done, err := d.Snapshot(&b).Write(math.MaxInt); !done {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The content of a checkpoint may be larger than any message, and is what was put in.
func TestMemoryOfAnySize(t *testing.T) {
	s, d := remembering(t, 100, 70<<20)
	packed := packed(t, d)
	again := engine.NewDecider(s, schemas.Telemetry)
	got, err := unpackMemory(packed, again)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(someMemory, got); diff != "" {
		t.Errorf("memory (-put +got):\n%s", diff)
	}
	if want, have := state(t, d), state(t, again); !bytes.Equal(want, have) {
		t.Errorf("the state of %d bytes is another one, of %d", len(want), len(have))
	}
}

// Builds of before wrote the content as one object with Encode, and read it so.
func TestMemoryOfBefore(t *testing.T) {
	type before struct {
		Decider []byte `json:"decider"`
		memory
	}
	s, d := remembering(t, 2, 2000)
	old, err := schemas.Encode(before{state(t, d), someMemory})
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpackMemory(old, engine.NewDecider(s, schemas.Telemetry))
	if diff := cmp.Diff(someMemory, got); diff != "" || err != nil {
		t.Errorf("what they wrote is read as (-put +got): %v\n%s", err, diff)
	}
	var read before
	if err := schemas.DecodeInto(packed(t, d), &read); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.Decider, state(t, d)) || !cmp.Equal(read.memory, someMemory) {
		t.Errorf("they would read %+v", read)
	}
	for _, n := range []int{0, 5, len(old) / 2, len(old) - 1} {
		if _, err := unpackMemory(old[:n], engine.NewDecider(s, schemas.Telemetry)); err == nil {
			t.Errorf("the first %d of %d bytes are taken for all", n, len(old))
		}
	}
}
