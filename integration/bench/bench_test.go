package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

// counted is what became of the events of a part.
type counted struct {
	Published, Reduced, Archived int64
}

// speed is what the report says of something that moved.
type speed struct {
	What           string
	Events, Frames int64
	Parts          []part
}

// part is what one process used.
type part struct {
	Name string
	CPU  int64
}

// recovered are times from the end of an outage on.
type recovered struct{ Stored, Decided, Caught []int64 }

// TestNothingIsLost runs every part for a moment: the numbers are of no use, but
// every event is reduced once and archived once, and everything was measured.
func TestNothingIsLost(t *testing.T) {
	bin := testenv.Build(t, "github.com/dermai/millrace/integration/bench", testenv.Programs, testenv.NATSServer)
	// Parts wait most of the time, so that some run side by side.
	var outs [3][]byte
	var runs sync.WaitGroup
	for i, parts := range [len(outs)]string{"publish,main,door,groups", "latency,handover,outage,evaluator", "nodes"} {
		runs.Go(func() {
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bench"), "--json", "--dir", t.TempDir(), "--bin", bin, "--parts", parts,
				"--for", "2s", "--short", "500ms", "--rate", "5000", "--samples", "4", "--handovers", "1", "--outage", "2s", "--outages", "1",
				"--nodes", "1", "--keys", "2000", "--groups", "200", "--steps", "1")
			var err error
			outs[i], err = cmd.Output()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				err = fmt.Errorf("%w: %s", err, exit.Stderr)
			}
			if err != nil {
				t.Errorf("%s: %v", parts, err)
			}
		})
	}
	runs.Wait()
	if t.Failed() {
		return
	}
	type mainJob struct {
		counted
		Via    string
		Events speed
		Plain  []speed
	}
	var got struct {
		Publish struct {
			counted
			Stages, Plain []speed
		}
		Main, Door mainJob
		Latency    struct{ Idle, Busy []int64 }
		Handover   struct{ Stopped, Killed []int64 }
		Outage     struct {
			counted
			Paused, Killed recovered
		}
		Nodes struct {
			counted
			Paused, Killed recovered
		}
		Groups struct {
			Cap   int
			Loads []struct {
				Firing   int
				Overflow bool
			}
		}
		Evaluator struct {
			Steps []struct {
				Groups, Sent, Reduced, Busy int64
				Lag                         []int64
				Parts                       []part
			}
		}
	}
	for _, out := range outs {
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for name, c := range map[string]counted{"publish": got.Publish.counted, "main": got.Main.counted, "door": got.Door.counted,
		"outage": got.Outage.counted, "nodes": got.Nodes.counted} {
		if c.Published == 0 || c.Reduced != c.Published || c.Archived != c.Published {
			t.Errorf("%s: %+v, want the same number three times", name, c)
		}
	}
	for _, m := range []mainJob{got.Main, got.Door} {
		if m.Published != 10_000 {
			t.Errorf("%s: %d events, want 5,000 a second for 2 s", m.Via, m.Published)
		}
		want := map[string]int{"library": 4, "door": 5}[m.Via] // broker, daemons and driver
		if len(m.Events.Parts) != want {
			t.Errorf("%s: %d processes measured, want %d", m.Via, len(m.Events.Parts), want)
		}
	}
	if n := len(got.Publish.Stages); n != 3 {
		t.Errorf("%d stages alone, want 3", n)
	}
	for _, plain := range [][]speed{got.Publish.Plain, got.Main.Plain, got.Door.Plain} {
		if len(plain) != 3 {
			t.Errorf("%d rows of plain NATS, want 3", len(plain))
		}
		for _, p := range plain {
			if p.Events == 0 || p.Frames == 0 {
				t.Errorf("%s moved nothing", p.What)
			}
		}
	}
	if g := got.Groups; len(g.Loads) != 3 || g.Loads[0].Overflow || g.Loads[2].Firing != g.Cap {
		t.Errorf("groups: %+v, want as many as the cap and then the overflow", g)
	}
	if steps := got.Evaluator.Steps; len(steps) != 1 {
		t.Errorf("%d steps of the evaluator, want 1", len(steps))
	} else if s := steps[0]; s.Groups != 200 || s.Sent == 0 || s.Reduced == 0 || s.Busy == 0 || len(s.Lag) == 0 || s.Lag[0] <= 0 || len(s.Parts) != 3 {
		t.Errorf("evaluator: %+v, want 200 groups, decided as they change", s)
	}
	if n := len(got.Handover.Stopped) + len(got.Handover.Killed); n < 1 {
		t.Error("no partition was handed over")
	}
	for name, r := range map[string]recovered{"paused": got.Outage.Paused, "killed": got.Outage.Killed, "one of three killed": got.Nodes.Killed, "one of three paused": got.Nodes.Paused} {
		if len(r.Stored) != 1 || len(r.Decided) != 1 || len(r.Caught) != 1 {
			t.Errorf("%s: %+v, want one outage measured", name, r)
		} else if r.Stored[0] <= 0 || r.Decided[0] <= 0 || r.Caught[0] < r.Decided[0] {
			t.Errorf("%s: %+v, want times in their order", name, r)
		}
	}
	for name, list := range map[string][]int64{"idle": got.Latency.Idle, "busy": got.Latency.Busy} {
		if len(list) != 4 {
			t.Errorf("%s: %d samples of latency, want 4", name, len(list))
		}
		for _, ns := range list {
			if ns <= 0 {
				t.Errorf("%s: decided %d ns before it was published", name, -ns)
			}
		}
	}
}
