package proof_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/schemas"
)

// noon is a day's middle, Unix ns.
const noon = int64(1_790_000_000_000_000_000)

// bench is a deployment without processes: streams in memory, an archive in a
// directory, publishers that send a frame a second.
type bench struct {
	log   *fencetest.Memory
	store *archive.FileStore
	dir   string
	now   int64
	lanes map[string]uint64 // counter of the last frame
	items []schemas.Quarantined
	cover map[schemas.Partition]uint64
}

func newBench(t testing.TB) *bench {
	b := &bench{dir: t.TempDir(), now: noon, lanes: map[string]uint64{}, cover: map[schemas.Partition]uint64{}}
	b.log = &fencetest.Memory{Clock: func() int64 { b.now += int64(time.Second); return b.now }}
	var err error
	b.store, err = archive.OpenFileStore(b.dir)
	must(t, err)
	t.Cleanup(func() { must(t, b.store.Close()) })
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lane names the subject of a lane.
func lane(service, name string) string {
	if service == "audited" {
		return "audit." + service + "." + name
	}
	return "events.0.log." + service + "." + name
}

func event(service string, i int) string {
	return fmt.Sprintf(`{"timestamp":"2026-09-21T14:13:20Z","service":%q,"level":"INFO","message":"event %d"}`+"\n", service, i)
}

// send sends frames of two events in a lane.
func (b *bench) send(service, name string, frames int) {
	subject := lane(service, name)
	for range frames {
		b.frame(subject, event(service, 1)+event(service, 2))
	}
}

func (b *bench) frame(subject, body string) uint64 {
	b.lanes[subject]++
	h := schemas.FrameHeader{Counter: b.lanes[subject], Acked: b.lanes[subject] - 1, Events: strings.Count(body, "\n")}
	if body == "" {
		h.Final = true
	}
	if strings.HasPrefix(subject, "audit.") {
		body = strings.ReplaceAll(body, `"level":"INFO","message"`, `"action":"read","user"`)
	}
	return b.log.Put(fence.Message{Subject: subject, Header: h.Map(), Data: schemas.Pack(nil, []byte(body))})
}

// end ends a lane.
func (b *bench) end(service, name string) { b.frame(lane(service, name), "") }

// archive puts an object with everything that is not archived yet, of each
// partition.
func (b *bench) archive(t testing.TB) {
	t.Helper()
	for _, stream := range []string{"EVENTS_0", "AUDIT"} {
		a, err := archive.NewArchiver(b.log, b.store, archive.Config{
			Stream: stream, NextGeneration: true, Now: func() time.Time { return time.Unix(0, b.now) },
		})
		must(t, err)
		for busy := true; busy; {
			busy, err = a.Step(t.Context())
			must(t, err)
		}
		must(t, a.Flush(t.Context()))
	}
}

// compact turns every object into segments but the last, and removes them if it
// is to be.
func (b *bench) compact(t testing.TB, remove bool) {
	t.Helper()
	for _, later := range []int64{0, day} {
		m, err := compact.New(b.store, compact.Config{
			Bytes: 1, Grace: time.Hour, Now: func() time.Time { return time.Unix(0, b.now+later) },
		})
		must(t, err)
		for busy := true; busy; {
			busy, err = m.Step(t.Context())
			must(t, err)
		}
		if !remove {
			return
		}
	}
}

// objects are the files of the archive under a prefix of their keys.
func (b *bench) objects(t testing.TB, prefix string) (files []string) {
	t.Helper()
	for o, err := range b.store.List(t.Context(), prefix, "") {
		must(t, err)
		files = append(files, filepath.Join(b.dir, filepath.FromSlash(o.Key)))
	}
	return files
}

func (b *bench) key(file string) string {
	rel, _ := filepath.Rel(b.dir, file)
	return filepath.ToSlash(rel)
}

// damage changes a file.
func damage(t testing.TB, file string, change func([]byte) []byte) {
	t.Helper()
	body, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Remove(file))
	must(t, os.WriteFile(file, change(body), 0o600))
}

// run compares everything, with the broker.
func (b *bench) run(t testing.TB, change func(*proof.Config)) *proof.Report {
	t.Helper()
	c := proof.Config{
		Store: b.store, Log: b.log, Partitions: []schemas.Partition{0, schemas.Audit},
		Covered: func(_ context.Context, p schemas.Partition) (uint64, error) { return b.cover[p], nil },
		Quarantined: func(_ context.Context, fn func(schemas.Quarantined) error) error {
			for _, item := range b.items {
				if err := fn(item); err != nil {
					return err
				}
			}
			return nil
		},
		Now: func() time.Time { return time.Unix(0, b.now) },
	}
	if change != nil {
		change(&c)
	}
	r, err := proof.Run(t.Context(), c)
	must(t, err)
	return r
}

// alone compares the archive alone.
func alone(c *proof.Config) { c.Log, c.Quarantined = nil, nil }

// said gives the findings as text, sorted.
func said(r *proof.Report) (out []string) {
	for _, f := range r.Findings {
		out = append(out, f.Kind+": "+f.String())
	}
	slices.Sort(out)
	return out
}

// missing gives the frames that are named as missing, as lane#counter.
func missing(r *proof.Report) (out []string) {
	for _, f := range r.Findings {
		for n := f.From; f.Kind == proof.Frames && n <= f.To; n++ {
			out = append(out, fmt.Sprintf("%s#%d", f.Lane, n))
		}
	}
	slices.Sort(out)
	return out
}
