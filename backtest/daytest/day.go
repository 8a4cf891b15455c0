// Package daytest proves on any store that a recorded day is decided again as it was.
package daytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// Day is a recorded day: the real reducers, evaluators and archivers over a log
// in memory, on a clock that is turned by hand. They crash, appends are lost,
// events come late, messages are lost after midnight, the rules are changed now and
// then, and at noon another partition is opened.
type Day struct {
	*rand.Rand
	t      *testing.T
	log    *fencetest.Memory
	store  archive.Store
	now    int64
	claims int
	cache  rules.Cache
	faulty bool

	reduce   map[schemas.Partition]*stages.Reduce
	evaluate map[schemas.Class]*stages.Evaluate
	archive  map[string]*archive.Archiver
	crashes  int
	reloads  []int64 // Unix ns
}

// dayStart is at a quarter past six in the evening, so that the recording spans two days.
var dayStart = time.Date(2026, 9, 21, 18, 15, 0, 0, time.UTC)

// tick is long, so that a day has few.
const tick = 30 * time.Second

// apart is the time between two moments at which something happens.
const apart = 15 * time.Second

func rulesOf(evening bool) *schemas.RuleSource {
	text := `
groups:
  - name: day
    rules:
      - {alert: Errors, on: log, where: 'message == "API request"', by: [service], ratio: attributes.status >= 500, window: 10m, fire: "> 20%", resolve: "< 10%", min_samples: 5, for: 1m, keep_firing_for: 2m, labels: {team: a}}
      - {alert: Slow, on: log, where: 'message == "API request"', by: [service], p95: attributes.ms, window: 20m, fire: "> 900", evidence: {worst: attributes.ms, fields: [attributes.path]}}
      - {alert: Silent, on: log, where: 'message == "Job finished"', by: [attributes.job], expect: every 2h}
      - {alert: Paths, on: log, where: 'message == "API request" and attributes.status >= 500', by: [attributes.path], count: true, window: 5m, fire: "> 1", cap: 3}
      - {alert: Denied, on: audit, where: 'not success', by: [user], count: true, window: 30m, fire: "> 2"}
`
	if evening {
		text = strings.Replace(text, "> 900", "> 700", 1)
		text = strings.Replace(text, "team: a", "team: b", 1)
	}
	return &schemas.RuleSource{Files: []schemas.RuleFile{{Name: "day.yaml", Text: text}}}
}

// Record makes a recording of some length and archives it in an empty store, all but
// what is last of each stream as segments.
func Record(t *testing.T, store archive.Store, length time.Duration) *Day {
	t.Helper()
	d := &Day{
		Rand: rand.New(rand.NewPCG(1, 2)), t: t, store: store, now: dayStart.UnixNano(), faulty: true,
		reduce: map[schemas.Partition]*stages.Reduce{}, evaluate: map[schemas.Class]*stages.Evaluate{},
		archive: map[string]*archive.Archiver{},
	}
	d.log = &fencetest.Memory{Clock: d.clock, Fault: d.fault}
	d.genesis()
	end := d.now + int64(length)
	noon := d.now + int64(length)*3/4
	opened := false
	for n := 0; d.now < end; n++ {
		d.now += int64(apart)
		if n%500 == 499 {
			d.reloads = append(d.reloads, d.now)
			d.control(schemas.ControlEntry{Rules: rulesOf(n/500%2 == 0)})
		}
		if !opened && d.now >= noon {
			opened = true
			d.control(schemas.ControlEntry{Open: []schemas.Partition{2}})
		}
		d.traffic(opened)
		d.step()
	}
	d.faulty = false
	for range 10 {
		d.now += int64(apart)
		d.step()
	}
	d.flush()
	d.compact()
	return d
}

func (d *Day) clock() int64 { return d.now + d.Int64N(int64(time.Second)) - int64(time.Second)/2 }

func (d *Day) fault(fence.Message) fencetest.Fault {
	if d.faulty && d.IntN(40) == 0 {
		return []fencetest.Fault{fencetest.LoseAppend, fencetest.LoseAnswer}[d.IntN(2)]
	}
	return fencetest.None
}

func (d *Day) claim() string { d.claims++; return fmt.Sprint("c", d.claims) }

func (d *Day) time() time.Time { return time.Unix(0, d.now) }

func (d *Day) genesis() {
	subjects := []string{schemas.Telemetry.Alerts(), schemas.Telemetry.Checkpoints(), schemas.AuditTrail.Alerts(), schemas.AuditTrail.Checkpoints()}
	for _, p := range []schemas.Partition{0, 1, 2, schemas.Audit} {
		subjects = append(subjects, p.Partials())
	}
	for _, s := range subjects {
		d.log.Put(fence.Message{Subject: s, Header: fence.Header{schemas.HeaderType: schemas.TypeGenesis}})
	}
	dep := schemas.Deployment{Engine: schemas.Engine, Tick: tick, Lateness: 1, Delay: 2}
	d.control(schemas.ControlEntry{Deployment: &dep})
	d.control(schemas.ControlEntry{Rules: rulesOf(false), Open: []schemas.Partition{0, 1, schemas.Audit}})
}

func (d *Day) control(e schemas.ControlEntry) {
	data, err := schemas.Encode(e)
	if err != nil {
		d.t.Fatal(err)
	}
	d.log.Put(fence.Message{Subject: schemas.SubjectControl, Header: fence.Header{schemas.HeaderType: schemas.TypeControl}, Data: data})
}

// traffic publishes some frames, with trouble every few hours.
func (d *Day) traffic(opened bool) {
	trouble := d.time().Hour()%4 == 3 && d.time().Minute() < 40
	for p := range schemas.Partition(3) {
		if p == 2 && !opened || d.IntN(3) == 0 {
			continue
		}
		service := []string{"api", "billing", "mail"}[p]
		var lines []string
		for range 1 + d.IntN(3) {
			at := d.late()
			status, ms := 200, 100+d.IntN(500)
			if trouble && d.IntN(3) == 0 {
				status, ms = 503, 800+d.IntN(400)
			}
			lines = append(lines, fmt.Sprintf(`{"timestamp":%q,"message":"API request","status":%d,"ms":%d,"path":"/p%d"}`, at, status, ms, d.IntN(6)))
		}
		if d.IntN(200) == 0 {
			lines = append(lines, `{"timestamp":"yesterday"}`)
		}
		if d.IntN(1500) == 0 {
			lines = append(lines, fmt.Sprintf(`{"timestamp":%q,"message":"Job finished","job":"backup-%d"}`, d.late(), p))
		}
		d.put(fmt.Sprintf("events.%d.log.%s.lane1", p, service), lines)
		if d.time().Day() != dayStart.Day() && d.IntN(90) == 0 {
			d.lose(p)
		}
	}
	if d.IntN(10) == 0 {
		d.put("audit.api.lane2", []string{fmt.Sprintf(`{"timestamp":%q,"user":"u%d","action":"READ","resource":"r","success":%t}`, d.late(), d.IntN(3), !trouble || d.IntN(2) == 0)})
	}
}

// lose stores a message that nobody will read.
func (d *Day) lose(p schemas.Partition) {
	gone := fence.Message{Subject: fmt.Sprintf("events.%d.log.gone.lane3", p)}
	if err := d.log.Trim(d.t.Context(), p.Stream(), gone.Subject, d.log.Put(gone)+1); err != nil {
		d.t.Fatal(err)
	}
}

func (d *Day) late() string {
	at := d.time()
	if d.IntN(12) == 0 {
		at = at.Add(-time.Duration(d.IntN(int(15 * time.Minute))))
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func (d *Day) put(subject string, lines []string) {
	d.log.Put(fence.Message{Subject: subject, Data: schemas.Pack(nil, []byte(strings.Join(lines, "\n")+"\n"))})
}

// Put implements stages.Quarantine.
func (d *Day) Put(context.Context, schemas.Quarantined) error { return nil }

// Tick implements stages.Ticker.
func (d *Day) Tick(_ context.Context, p schemas.Partition) error {
	d.log.Put(fence.Message{Subject: p.Ticks()})
	return nil
}

// step lets every machine do what there is to do, unless it crashes before.
func (d *Day) step() {
	partitions := []schemas.Partition{0, 1, 2, schemas.Audit}
	for range 3 {
		for _, p := range partitions {
			if m := d.reduce[p]; m == nil || d.crashes < 200 && d.IntN(3000) == 0 {
				d.crashes++
				d.reduce[p] = stages.NewReduce(stages.ReduceConfig{Partition: p, Log: d.log, Quarantine: d, Clock: d.time, Claims: d.claim, Rules: &d.cache})
			}
			d.drive(d.reduce[p])
		}
		for _, c := range schemas.Classes {
			if m := d.evaluate[c]; m == nil || d.IntN(3000) == 0 {
				d.crashes++
				d.evaluate[c] = stages.NewEvaluate(stages.EvaluateConfig{
					Class: c, Log: d.log, Trimmer: d.log, Ticker: d, Clock: d.time, Claims: d.claim, Rules: &d.cache,
					PartBytes: 3000, Checkpoint: 10 * time.Minute,
				})
			}
			d.drive(d.evaluate[c])
		}
	}
	for _, name := range d.streams() {
		if m := d.archive[name]; m == nil || d.IntN(2000) == 0 {
			d.archive[name] = d.archiver(name)
		}
		d.drive(d.archive[name])
	}
}

func (d *Day) streams() []string {
	return []string{"EVENTS_0", "EVENTS_1", "EVENTS_2", schemas.StreamAudit, schemas.StreamControl, schemas.StreamAlerts}
}

func (d *Day) archiver(name string) *archive.Archiver {
	floor := func(ctx context.Context) (int64, error) {
		control := stages.NewControl(d.log, d.time, &d.cache)
		_, err := control.Read(ctx)
		p, _ := schemas.ParsePartition(strings.TrimPrefix(name, "EVENTS_"))
		if name == schemas.StreamAudit {
			p = schemas.Audit
		}
		return control.Schedule().Floor(p), err
	}
	if !strings.HasPrefix(name, "EVENTS_") && name != schemas.StreamAudit {
		floor = nil
	}
	a, err := archive.NewArchiver(d.log, d.store, archive.Config{Stream: name, Now: d.time, Floor: floor, CutAge: time.Hour})
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *Day) drive(m stages.Machine) {
	for range 60 {
		busy, err := m.Step(d.t.Context())
		switch {
		case fence.IsIncident(err):
			d.t.Fatal(err)
		case err != nil && !errors.Is(err, fence.ErrUnknown) && !errors.Is(err, fence.ErrFenced):
			d.t.Fatal(err)
		case err == nil && !busy:
			return
		}
	}
}

func (d *Day) flush() {
	for _, a := range d.archive {
		d.drive(a)
		if err := a.Flush(d.t.Context()); err != nil {
			d.t.Fatal(err)
		}
	}
}

// compact makes segments of the first day and forgets its objects.
func (d *Day) compact() {
	c, err := compact.New(d.store, compact.Config{Bytes: 1 << 18, Dir: d.t.TempDir(), Now: d.time, Grace: time.Nanosecond})
	if err != nil {
		d.t.Fatal(err)
	}
	for busy := true; busy; {
		d.now++
		if busy, err = c.Step(d.t.Context()); err != nil {
			d.t.Fatal(err)
		}
	}
}
