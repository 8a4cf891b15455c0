package archivetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
)

// Noon is when the clock of a Bench begins, Unix ns.
const Noon = 1_790_000_000_000_000_000

// Bench is a log in memory, a store, by default in a directory, and a clock for both.
type Bench struct {
	Log   *fencetest.Memory
	Store archive.Store
	Dir   string // "" for a store elsewhere
	Now   int64  // Unix ns
}

// NewBench makes one in a directory of its own.
func NewBench(t *testing.T) *Bench {
	t.Helper()
	return OpenBench(t, t.TempDir())
}

// OpenBench makes one whose store is in a directory.
func OpenBench(t *testing.T, dir string) *Bench {
	t.Helper()
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	b := NewBenchOn(store)
	b.Dir = dir
	return b
}

// NewBenchOn makes one on an empty store.
func NewBenchOn(store archive.Store) *Bench {
	b := &Bench{Now: Noon, Store: store}
	b.Log = &fencetest.Memory{Clock: func() int64 { return b.Now }}
	return b
}

// Clock gives Now.
func (b *Bench) Clock() time.Time { return time.Unix(0, b.Now) }

// Put appends a message, a millisecond later.
func (b *Bench) Put(subject, data string) {
	b.Now += int64(time.Millisecond)
	b.Log.Put(fence.Message{Subject: subject, Data: []byte(data), Header: fence.Header{"N": fmt.Sprint(b.Now)}})
}

// Archive stores what the log holds of a stream.
func (b *Bench) Archive(t *testing.T, stream string) *archive.Archiver {
	t.Helper()
	a, err := archive.NewArchiver(b.Log, b.Store, archive.Config{Stream: stream, Now: b.Clock})
	if err != nil {
		t.Fatal(err)
	}
	Drain(t, a)
	return a
}

// Drain lets an archiver store what there is.
func Drain(t *testing.T, a *archive.Archiver) {
	t.Helper()
	for busy := true; busy; {
		var err error
		if busy, err = a.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// LoseTail lets a stream lose what one archiver has read and not stored, while another,
// which had not read it, takes what is written in its place for what comes next and
// stores it first. So the archive has what was lost in a chain of its own.
func (b *Bench) LoseTail(t *testing.T, stream string, lost, instead func()) {
	t.Helper()
	var list []*archive.Archiver
	for range 2 {
		a, err := archive.NewArchiver(b.Log, b.Store, archive.Config{Stream: stream, Now: b.Clock, NextGeneration: true})
		if err != nil {
			t.Fatal(err)
		}
		for busy := true; busy; {
			if busy, err = a.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if list = append(list, a); len(list) == 1 {
			lost()
		}
	}
	b.Log.Rewind(stream, list[0].Next()-1)
	instead()
	Drain(t, list[0])
	Drain(t, list[1])
}

// Compact compacts all that can be, and removes what may be.
func (b *Bench) Compact(t *testing.T) (segments []archive.Segment) {
	t.Helper()
	c, err := compact.New(b.Store, compact.Config{Bytes: 1 << 10, Dir: t.TempDir(), Now: b.Clock,
		Committed: func(s archive.Segment) { segments = append(segments, s) }})
	if err != nil {
		t.Fatal(err)
	}
	for busy := true; busy; {
		if busy, err = c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return segments
}

// Message is a record with its payload unpacked.
type Message struct {
	Stream        string
	Seq           uint64
	Time, Arrival int64
	Subject       string
	Header        fence.Header
	Payload       string
}

// Cat gives what is chosen of the archive.
func (b *Bench) Cat(t *testing.T, f archive.Filter) (out []Message) {
	t.Helper()
	err := query.Messages(t.Context(), b.Store, f, func(r *archive.Record) error {
		p, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
		if err != nil {
			p = r.Payload
		}
		out = append(out, Message{r.Stream, r.Seq, r.Time, r.Arrival, r.Subject, r.Header, string(p)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Verify verifies the archive.
func (b *Bench) Verify(t *testing.T, o archive.Options) archive.Report {
	t.Helper()
	r, err := archive.Verify(t.Context(), b.Store, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Keys lists the keys in the store.
func (b *Bench) Keys(t *testing.T, prefix string) (out []string) {
	t.Helper()
	for o, err := range b.Store.List(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o.Key)
	}
	return out
}
