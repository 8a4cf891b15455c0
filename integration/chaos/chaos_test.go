package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/faultlog"
	"github.com/dermai/millrace/schemas"
)

var seed = flag.Int64("seed", 0, "of the run; 0: the clock")

// TestRun makes one run, with kills at random moments and at durable steps, and
// then sees that every check can fail.
func TestRun(t *testing.T) {
	o := &Options{Seed: *seed, Servers: 1, Store: storeFiles, Faults: []string{"die", "kill", "receiver"}}
	if o.Seed == 0 {
		o.Seed = time.Now().UnixNano() % 1e9
	}
	o.draw()
	t.Log(o.again())
	bin, dir := t.TempDir(), t.TempDir()
	if err := build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	if err := execute(t.Context(), o, bin, dir); err != nil {
		t.Fatalf("%v\n%s", err, logs(dir))
	}
	v := judge(read(t, dir))
	t.Log(v)
	if v.Outcome != outcomePass {
		t.Fatalf("%s\n%s", v.Outcome, logs(dir))
	}
	if c := v.Counts; c.Stored < 500 || c.Faults < 3 || c.Transitions < 3 || c.Backtested < 3 || c.Notifications < 2 || c.Messages < 100 {
		t.Errorf("it was about little: %+v", c)
	}
	for name, spoil := range spoils {
		t.Run(name, func(t *testing.T) {
			e := read(t, dir)
			spoil(t, e)
			if err := e.decode(); err != nil {
				t.Fatal(err)
			}
			found := false
			check, _, _ := strings.Cut(name, ":")
			for _, c := range checks {
				if c.name == check {
					c.run(e, new(Counts), func(string, ...any) { found = true })
				}
			}
			if !found {
				t.Errorf("the check found nothing")
			}
		})
	}
}

func read(t *testing.T, dir string) *evidence {
	t.Helper()
	e, err := readEvidence(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// logs are the ends of what the programs said.
func logs(dir string) string {
	var b strings.Builder
	for _, name := range []string{"publisher", "processor-1", "processor-2", "archiver-1", "archiver-2", "nats-1", "millrace"} {
		b.WriteString("---- " + name + ":\n" + lastOf(filepath.Join(dir, dirLogs, name+".log")) + "\n")
	}
	return b.String()
}

// spoils are what may not be, by the check that finds it.
var spoils = map[string]func(t *testing.T, e *evidence){
	"events: an accepted frame is empty": func(t *testing.T, e *evidence) { e.edit(t, func(string) string { return "" }) },
	"events: an event is there twice":    func(t *testing.T, e *evidence) { e.edit(t, func(s string) string { return s + s }) },
	"events: an event was never sent":    func(t *testing.T, e *evidence) { e.edit(t, func(s string) string { return s + strangers }) },
	"events: an event says something else": func(t *testing.T, e *evidence) {
		e.edit(t, func(s string) string { return strings.ReplaceAll(s, "proof of", "prof of") })
	},
	"events: a refused event is there": func(_ *testing.T, e *evidence) {
		for i := range e.sent {
			if e.sent[i].Outcome == stored {
				e.sent[i].Outcome = refused
			}
		}
	},
	"lanes: a frame is gone": func(t *testing.T, e *evidence) {
		stream, i := e.frame(t)
		e.streams[stream] = slices.Delete(e.streams[stream], i, i+1)
	},
	"quarantine: a bad line is not in it": func(t *testing.T, e *evidence) { e.edit(t, func(string) string { return "no event\n" }) },
	"partials: a commit is gone": func(t *testing.T, e *evidence) {
		list, commits := e.streams[schemas.StreamPartials], map[string][]int{}
		for i, m := range list {
			commits[m.Subject] = append(commits[m.Subject], i)
		}
		for _, at := range commits {
			if n := len(at); n > 3 {
				e.streams[schemas.StreamPartials] = slices.Delete(list, at[n-2], at[n-2]+1)
				return
			}
		}
		t.Fatal("no partition has commits enough")
	},
	"transitions: an alert was missed":     func(t *testing.T, e *evidence) { e.streams.missAlert(t) },
	"backtest: the archive lacks an alert": func(t *testing.T, e *evidence) { e.archived.missAlert(t) },
	"notifications: one never arrived": func(t *testing.T, e *evidence) {
		id := e.arrived(t)
		e.told = slices.DeleteFunc(e.told, func(n Told) bool { return n.ID == id })
	},
	"notifications: one was never planned": func(_ *testing.T, e *evidence) { e.told[0].ID = "another" },
	"notifications: one was sent again without a reason": func(_ *testing.T, e *evidence) {
		for range len(e.outcomes) + 1 {
			e.told = append(e.told, e.told[0])
		}
	},
	"archive: a message is missing": func(_ *testing.T, e *evidence) {
		e.archived["AUDIT"] = e.archived["AUDIT"][1:]
	},
	"archive: a message is there twice": func(_ *testing.T, e *evidence) {
		list := e.archived["AUDIT"]
		e.archived["AUDIT"] = append(list[:1:1], list...)
	},
	"archive: a message is another": func(_ *testing.T, e *evidence) {
		e.archived["CONTROL"][0].Data = []byte("another")
	},
	"programs: one ended by itself": func(_ *testing.T, e *evidence) {
		e.ended = append(e.ended, Ended{Program: "archiver-1"})
	},
	"bounds: memory": func(_ *testing.T, e *evidence) {
		i := slices.IndexFunc(e.used, func(u Used) bool { return u.Program == "publisher" })
		e.used[i].RSS = 1 << 30
	},
	"counters: an event was not counted": func(_ *testing.T, e *evidence) {
		e.fired = nil
		e.metrics["publisher"] = metrics{}
	},
	"patients: a log holds what it may not": func(_ *testing.T, e *evidence) {
		e.outside["logs/publisher.log"] += "patient " + canary(e.options.Seed)
	},
}

// strangers is an event that no writer sent.
const strangers = `{"id":"stranger-000001","timestamp":"2026-01-01T00:00:00Z","service":"api","level":"INFO","message":"hello"}` + "\n"

// arrived finds a notification that was planned in time and taken.
func (e *evidence) arrived(t *testing.T) (id string) {
	t.Helper()
	for _, n := range e.planned {
		taken := slices.ContainsFunc(e.told, func(told Told) bool { return told.Taken && told.ID == n.ID })
		if taken && n.seq <= e.times.Told {
			return n.ID
		}
	}
	t.Fatal("no notification arrived")
	return ""
}

// frame finds a stored frame of log events that its writer knows to be stored, and
// that is not the last of its lane.
func (e *evidence) frame(t *testing.T) (stream string, index int) {
	t.Helper()
	known, last := readSent(e.sent), map[string]uint64{}
	for _, m := range e.messages[schemas.Telemetry] {
		last[m.Entry.Subject] = m.Entry.Seq
	}
	for _, m := range e.messages[schemas.Telemetry] {
		s, err := schemas.ParseSubject(m.Entry.Subject)
		if err != nil || s.Kind != schemas.KindLog || m.Entry.Header[schemas.HeaderCounter] == "" || m.Entry.Seq == last[m.Entry.Subject] {
			continue
		}
		if slices.ContainsFunc(m.Events, func(event *schemas.Event) bool { return event != nil && known.outcome[event.ID] == stored }) {
			stream = m.Partition.Stream()
			return stream, slices.IndexFunc(e.streams[stream], func(f fence.Entry) bool { return f.Seq == m.Entry.Seq })
		}
	}
	t.Fatal("no lane has two frames")
	return "", 0
}

// missAlert takes the transitions out of a decision.
func (s streams) missAlert(t *testing.T) {
	t.Helper()
	list := s[schemas.StreamAlerts]
	for i := range list {
		var d schemas.Decision
		if list[i].Header[schemas.HeaderType] != schemas.TypeDecision || schemas.DecodeInto(list[i].Data, &d) != nil || len(d.Transitions) == 0 {
			continue
		}
		d.Transitions = nil
		data, err := schemas.Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		list[i].Data = data
		return
	}
	t.Fatal("nothing was decided")
}

// edit changes the text of a stored frame.
func (e *evidence) edit(t *testing.T, change func(string) string) {
	t.Helper()
	stream, i := e.frame(t)
	m := &e.streams[stream][i]
	text, err := schemas.Unpack(nil, m.Data, schemas.FrameDecoded)
	if err != nil {
		t.Fatal(err)
	}
	m.Data = []byte(change(string(text)))
}

// TestBugs: each bug in the table is planted somewhere, and each that is planted
// is in the table.
func TestBugs(t *testing.T) {
	planted := map[string]bool{}
	site := regexp.MustCompile(`chaos\.Bug\("([^"]+)"\)`)
	for _, dir := range faultlog.DataPath {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range site.FindAllStringSubmatch(string(text), -1) {
				planted[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range bugs {
		if !planted[b.name] {
			t.Errorf("bug %q is in the table and nowhere planted", b.name)
		}
		delete(planted, b.name)
	}
	for name := range planted {
		t.Errorf("bug %q is planted and not in the table", name)
	}
}

// TestSummary compares the document with the ledger and the table of bugs.
func TestSummary(t *testing.T) {
	list, err := readLedger[Record](filepath.Join("../..", faultlog.File))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join("../..", docFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := documented(string(doc), list)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 || want != string(doc) {
		t.Errorf("%s and %s differ; run go run ./integration/chaos -sum", docFile, faultlog.File)
	}
}

// TestDraw: seeds choose every fault that is possible here, and both stores; what they
// choose is valid, and what is given stays.
func TestDraw(t *testing.T) {
	chosen := map[string]int{}
	for seed := range int64(400) {
		o := Options{Seed: seed, Servers: 1}
		o.draw()
		if err := o.validate(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		chosen[o.Store]++
		for _, name := range o.Faults {
			chosen[name]++
		}
	}
	for _, f := range faults {
		if f.possible(Options{Servers: 1, Store: storeS3}) == nil && chosen[f.name] == 0 {
			t.Errorf("no seed chooses %s", f.name)
		}
	}
	if chosen[storeS3] < 50 || chosen[storeFiles] < 250 {
		t.Errorf("%d runs on S3 and %d on files, want about 100 and 300", chosen[storeS3], chosen[storeFiles])
	}
	o := Options{Seed: 1, Servers: 1, Store: storeFiles, Faults: []string{"store"}}
	o.draw()
	if err := o.validate(); err == nil || o.Store != storeFiles {
		t.Errorf("a fault of the S3 store, on %s: %v", o.Store, err)
	}
}

// TestTorn: messages that a stream never had are no fault, if a server's disk was
// full, they were before its first, and nothing says that they were there.
func TestTorn(t *testing.T) {
	const stream = "EVENTS_0"
	begins := func(first uint64) *evidence { // at a message, which the archive has as well
		list := []fence.Entry{{Seq: first, Data: []byte("x")}}
		e := &evidence{fired: []Fired{{Fault: "full", Target: "nats-1"}}, streams: streams{stream: list}, archived: streams{stream: list}}
		missing := []archive.Missing{{From: 1, To: first - 1, Reason: archive.MissingExpired}}
		e.verify.Chains = []archive.ChainReport{{Head: archive.Head{Chain: "telemetry/" + stream + "/1"}, Missing: missing}}
		return e
	}
	found := func(e *evidence) (n int) {
		checkArchive(e, new(Counts), func(string, ...any) { n++ })
		return n
	}
	if n := found(begins(5)); n != 0 {
		t.Fatalf("%d findings about what never was", n)
	}
	missing := func(e *evidence) *archive.Missing { return &e.verify.Chains[0].Missing[0] }
	for name, spoil := range map[string]func(e *evidence){
		"no disk was full":                   func(e *evidence) { e.fired[0].Fault = "kill" },
		"the disk was no server's":           func(e *evidence) { e.fired[0].Target = diskOfData },
		"the stream begins before":           func(e *evidence) { missing(e).To++ },
		"it is of another stream":            func(e *evidence) { e.verify.Chains[0].Chain = "audit/AUDIT/1" },
		"it was in the middle of the stream": func(e *evidence) { missing(e).Reason = archive.MissingDeleted },
		"more is missing": func(e *evidence) {
			e.verify.Chains[0].Missing = append(e.verify.Chains[0].Missing, archive.Missing{From: 7, To: 8, Reason: archive.MissingExpired})
		},
		"the archive begins later": func(e *evidence) { e.archived[stream] = nil },
		"the stream has nothing":   func(e *evidence) { e.streams[stream] = nil },
	} {
		e := begins(5)
		spoil(e)
		if found(e) == 0 {
			t.Errorf("nothing is found though %s", name)
		}
	}
}

func TestQuantile(t *testing.T) {
	for q, want := range map[float64]float64{0.5: 2, 0.99: 4, 1: 4, 0: 1} {
		if got := quantile([]float64{4, 2, 1, 3}, q); got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

// TestUnknown: a run that could have found nothing passes nothing.
func TestUnknown(t *testing.T) {
	now := time.Now()
	good := func() *evidence {
		return &evidence{
			options: Options{Faults: []string{"kill"}},
			times:   Times{Storm: now, Healed: now.Add(time.Minute), Drained: now.Add(2 * time.Minute)},
			fired:   []Fired{{Fault: "kill"}},
			sent:    []Sent{{Writer: "w", Count: leastTraffic, At: now.Add(time.Second), Outcome: tried}},
		}
	}
	if why := doubts(good()); why != nil {
		t.Fatalf("doubts without a reason: %v", why)
	}
	for name, spoil := range map[string]func(e *evidence){
		"the fault did not fire": func(e *evidence) { e.fired = nil },
		"it could not be healed": func(e *evidence) { e.fired = append(e.fired, Fired{Fault: "kill", Error: "no"}) },
		"nothing was sent":       func(e *evidence) { e.sent[0].At = now.Add(-time.Second) },
		"it did not drain":       func(e *evidence) { e.times.Drained = time.Time{} },
	} {
		e := good()
		spoil(e)
		if doubts(e) == nil {
			t.Errorf("no doubt though %s", name)
		}
	}
}
