package archiver_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/internal/processor"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/stages"
)

// aging is a deployment whose processes have a clock that the broker has not.
type aging struct {
	*testing.T
	conn    *pipeline.Conn
	log     *pipeline.Log
	now     time.Time
	keeper  *stages.Snapshot
	control uint64 // its last entry
}

func newAging(t *testing.T, archived bool) *aging {
	t.Helper()
	s := pipelinetest.Start(t)
	a := &aging{T: t, conn: s.Connect(t), now: time.Now()}
	a.log = a.conn.Log()
	t.Cleanup(a.log.Close)
	if _, err := pipeline.Apply(t.Context(), a.conn, pipeline.Layout{Partitions: 1, Archived: archived, Sync: s.Sync}, false); err != nil {
		t.Fatal(err)
	}
	a.keeper = stages.NewSnapshot(stages.SnapshotConfig{Log: a.log, Clock: time.Now, Every: 3})
	a.control = uint64(len(a.held(schemas.StreamControl)))
	return a
}

func (a *aging) clock() time.Time { return a.now }

// goOn decides some changes, and appends to the control log up to a snapshot, whose
// sequence it gives.
func (a *aging) goOn() uint64 {
	a.Helper()
	subject := schemas.Telemetry.Alerts()
	for range 4 {
		head, err := a.log.Head(a.Context(), subject)
		if err == nil {
			_, err = a.log.Append(a.Context(), fence.Message{Subject: subject, Header: head.Header, Data: []byte("{}")}, head.Seq)
		}
		if err != nil {
			a.Fatal(err)
		}
	}
	for snapshot := false; !snapshot; a.control++ {
		var err error
		if snapshot, err = a.keeper.Step(a.Context()); err == nil && !snapshot {
			_, err = stages.ProposeControl(a.Context(), a.log, a.control, schemas.ControlEntry{})
		}
		if err != nil {
			a.Fatal(err)
		}
	}
	return a.control
}

// held are the sequences that a stream has.
func (a *aging) held(stream string) (out []uint64) {
	a.Helper()
	log := a.conn.Log() // which has read nothing ahead
	defer log.Close()
	info, err := log.Info(a.Context(), stream)
	if err != nil {
		a.Fatal(err)
	}
	for next := info.First; next <= info.Last; next = out[len(out)-1] + 1 {
		entries, err := log.Read(a.Context(), stream, next, 100)
		if err != nil || len(entries) == 0 {
			a.Fatalf("read %s from %d: %d entries, %v", stream, next, len(entries), err)
		}
		for _, e := range entries {
			out = append(out, e.Seq)
		}
	}
	return out
}

// head is the last change of a class.
func (a *aging) head(c schemas.Class) uint64 {
	a.Helper()
	head, err := a.log.Head(a.Context(), c.Alerts())
	if err != nil {
		a.Fatal(err)
	}
	return head.Seq
}

// want compares what the streams hold with sequences of ALERTS, and with where the
// control log begins.
func (a *aging) want(what string, alerts []uint64, control uint64) {
	a.Helper()
	if diff := cmp.Diff(alerts, a.held(schemas.StreamAlerts)); diff != "" {
		a.Errorf("%s: ALERTS (-want +got):\n%s", what, diff)
	}
	if got := a.held(schemas.StreamControl); got[0] != control || got[len(got)-1] != a.control || len(got) != int(a.control-control)+1 {
		a.Errorf("%s: the control log is %v; want %d to %d", what, got, control, a.control)
	}
	if _, err := stages.NewControl(a.log, time.Now, nil).Read(a.Context()); err != nil {
		a.Errorf("%s: the control log cannot be read from its beginning: %v", what, err)
	}
}

// upkeep lets a processor that just began keep the streams short.
func (a *aging) upkeep() {
	a.Helper()
	u := processor.NewUpkeep(a.conn, a.log, a.clock, nil, pipeline.NewSilences(a.conn))
	for range 2 {
		if _, err := u.Step(a.Context()); err != nil {
			a.Fatal(err)
		}
	}
}

// TestTrimsBehindTheArchive: what is 90 days old of ALERTS, and behind an old snapshot
// of the control log, stays until it is archived, whatever the processor's clock says.
func TestTrimsBehindTheArchive(t *testing.T) {
	a := newAging(t, true)
	store, err := archive.OpenFileStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	first := a.goOn()
	archived := a.held(schemas.StreamAlerts)
	if err := archiver.Flush(t.Context(), a.conn, store, func(archiver.Flushed) error { return nil }); err != nil {
		t.Fatal(err)
	}
	second := a.goOn()
	all := a.held(schemas.StreamAlerts)
	a.now = a.now.Add(91 * 24 * time.Hour)
	a.upkeep()
	a.want("the processor's clock", all, 1)

	var machines []*archive.Archiver
	for _, kept := range []func(archiver.Log, stages.Clock) archive.Config{archiver.Control, archiver.Alerts} {
		m, err := archive.NewArchiver(a.log, store, kept(a.log, a.clock))
		if err != nil {
			t.Fatal(err)
		}
		machines = append(machines, m)
	}
	step := func(flush bool) {
		t.Helper()
		for _, m := range machines {
			for busy := true; busy; {
				if busy, err = m.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if flush {
				if err := m.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	quiet := a.head(schemas.AuditTrail) // its only message
	step(false)
	a.want("an archiver that has read all and stored half", append([]uint64{quiet}, all[len(archived):]...), first)
	step(true)
	a.goOn()
	step(true)
	a.now = a.now.Add(2 * time.Minute)
	step(false)
	a.upkeep()
	a.want("an archiver that has stored all", []uint64{quiet, a.head(schemas.Telemetry)}, second)
}

// TestTrimsByAge: without an archiver age alone decides.
func TestTrimsByAge(t *testing.T) {
	a := newAging(t, false)
	snapshot := a.goOn()
	a.upkeep()
	a.want("young", a.held(schemas.StreamAlerts), 1)
	a.now = a.now.Add(91 * 24 * time.Hour)
	a.upkeep()
	a.want("old", []uint64{a.head(schemas.AuditTrail), a.head(schemas.Telemetry)}, snapshot)
}
