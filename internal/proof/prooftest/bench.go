// Package prooftest proves on any store that what is missing of an archive is named:
// each test takes a bench on an empty one.
package prooftest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/schemas"
)

// Day is a day in ns.
const Day = int64(24 * time.Hour)

// Bench is a deployment without processes: streams in memory, an archive, publishers
// that send a frame a second.
type Bench struct {
	*archivetest.Bench
	Lanes map[string]uint64            // counter of the last frame
	Items []schemas.Quarantined        // what is in quarantine
	Cover map[schemas.Partition]uint64 // up to where a reducer has read
}

// New makes one.
func New(on *archivetest.Bench) *Bench {
	b := &Bench{Bench: on, Lanes: map[string]uint64{}, Cover: map[schemas.Partition]uint64{}}
	b.Log.Clock = func() int64 { b.Now += int64(time.Second); return b.Now }
	return b
}

// Must ends a test where something fails that has to work.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Lane names the subject of a lane.
func Lane(service, name string) string {
	if service == "audited" {
		return "audit." + service + "." + name
	}
	return "events.0.log." + service + "." + name
}

// Event is a line, the i-th of a service.
func Event(service string, i int) string {
	return fmt.Sprintf(`{"timestamp":"2026-09-21T14:13:20Z","service":%q,"level":"INFO","message":"event %d"}`+"\n", service, i)
}

// Send sends frames of two events in a lane.
func (b *Bench) Send(service, name string, frames int) {
	subject := Lane(service, name)
	for range frames {
		b.Frame(subject, Event(service, 1)+Event(service, 2))
	}
}

// Frame sends a frame, without events the final one, and gives its sequence.
func (b *Bench) Frame(subject, body string) uint64 { return b.frame(subject, body, schemas.LaneEnd{}) }

// Replace sends a frame of a new lane of a service in place of one that the stream
// lost frames of.
func (b *Bench) Replace(service, lost, name string) {
	was := Lane(service, lost)
	b.frame(Lane(service, name), Event(service, 1), schemas.LaneEnd{Lane: was, Batch: b.Lanes[was]})
}

func (b *Bench) frame(subject, body string, after schemas.LaneEnd) uint64 {
	b.Lanes[subject]++
	h := schemas.FrameHeader{Counter: b.Lanes[subject], Acked: b.Lanes[subject] - 1, Events: strings.Count(body, "\n"), After: after}
	if body == "" {
		h.Final = true
	}
	if strings.HasPrefix(subject, "audit.") {
		body = strings.ReplaceAll(body, `"level":"INFO","message"`, `"action":"read","user"`)
	}
	return b.Log.Put(fence.Message{Subject: subject, Header: h.Map(), Data: schemas.Pack(nil, []byte(body))})
}

// End ends a lane.
func (b *Bench) End(service, name string) { b.Frame(Lane(service, name), "") }

// ArchiveAll puts an object with everything that is not archived yet, of each
// partition.
func (b *Bench) ArchiveAll(t *testing.T) {
	t.Helper()
	b.Archive(t, "EVENTS_0")
	b.Archive(t, "AUDIT")
}

// CompactAll turns every object into segments but the last, and removes them if it
// is to be.
func (b *Bench) CompactAll(t *testing.T, remove bool) {
	t.Helper()
	for _, later := range []int64{0, Day} {
		m, err := compact.New(b.Store, compact.Config{
			Bytes: 1, Grace: time.Hour, Now: func() time.Time { return time.Unix(0, b.Now+later) },
		})
		Must(t, err)
		for busy := true; busy; {
			busy, err = m.Step(t.Context())
			Must(t, err)
		}
		if !remove {
			return
		}
	}
}

// Remove takes an object away behind everybody's back.
func (b *Bench) Remove(t *testing.T, key string) {
	t.Helper()
	store, ok := b.Store.(archive.Remover)
	if !ok {
		t.Fatal("this store cannot forget")
	}
	Must(t, store.Remove(t.Context(), key))
}

// Damage changes an object behind everybody's back.
func (b *Bench) Damage(t *testing.T, key string, change func([]byte) []byte) {
	t.Helper()
	body := b.get(t, key)
	b.Remove(t, key)
	b.put(t, key, change(body))
}

func (b *Bench) get(t *testing.T, key string) []byte {
	t.Helper()
	body, err := archive.ReadAll(t.Context(), b.Store, key)
	Must(t, err)
	return body
}

func (b *Bench) put(t *testing.T, key string, body []byte) {
	t.Helper()
	Must(t, b.Store.Put(t.Context(), key, bytes.NewReader(body), int64(len(body))))
}

// Rewrite writes an object anew as a forger would who keeps its index and checksums
// right: without some sequences, or with other payloads.
func (b *Bench) Rewrite(t *testing.T, key string, change func(e *fence.Entry) (kept bool)) {
	t.Helper()
	name, err := archive.ParseKey(key)
	Must(t, err)
	var entries []fence.Entry
	r := archive.NewReader(bytes.NewReader(b.get(t, key)))
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		Must(t, err)
		entries = append(entries, fence.Entry{Seq: rec.Seq, Time: rec.Time, Subject: rec.Subject, Header: rec.Header, Data: slices.Clone(rec.Payload)})
	}
	var out bytes.Buffer
	w := archive.NewWriter(&out, archive.TipBefore(name, r.Index()))
	for _, e := range entries {
		if !change(&e) {
			continue
		}
		if e.Seq > w.Next() {
			Must(t, w.Miss(e.Seq-1, archive.MissingDeleted))
		}
		Must(t, w.Write(&e))
	}
	if w.Next() <= r.Index().Last {
		Must(t, w.Miss(r.Index().Last, archive.MissingDeleted))
	}
	_, err = w.Close(r.Index().NextDay)
	Must(t, err)
	b.Damage(t, key, func([]byte) []byte { return out.Bytes() })
}

// Run compares everything, with the broker.
func (b *Bench) Run(t testing.TB, change func(*proof.Config)) *proof.Report {
	t.Helper()
	c := proof.Config{
		Store: b.Store, Log: b.Log, Partitions: []schemas.Partition{0, schemas.Audit},
		Covered: func(_ context.Context, p schemas.Partition) (uint64, error) { return b.Cover[p], nil },
		Quarantined: func(_ context.Context, fn func(schemas.Quarantined) error) error {
			for _, item := range b.Items {
				if err := fn(item); err != nil {
					return err
				}
			}
			return nil
		},
		Now: b.Clock,
	}
	if change != nil {
		change(&c)
	}
	r, err := proof.Run(t.Context(), c)
	Must(t, err)
	return r
}

// Alone compares the archive alone.
func Alone(c *proof.Config) { c.Log, c.Quarantined = nil, nil }

// Said gives the findings as text, sorted.
func Said(r *proof.Report) (out []string) {
	for _, f := range r.Findings {
		out = append(out, f.Kind+": "+f.String())
	}
	slices.Sort(out)
	return out
}

// Missing gives the frames that are named as missing, as lane#counter.
func Missing(r *proof.Report) (out []string) {
	for _, f := range r.Findings {
		for n := f.From; f.Kind == proof.Frames && n <= f.To; n++ {
			out = append(out, fmt.Sprintf("%s#%d", f.Lane, n))
		}
	}
	slices.Sort(out)
	return out
}
