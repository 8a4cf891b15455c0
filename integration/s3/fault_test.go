package s3_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/s3"
	"github.com/dermai/millrace/fence"
)

// flood is a stream that holds more than an archiver may, made as it is read.
type flood struct{ last uint64 }

const floodMessage = 64 << 10 // bytes, which do not compress

func (f flood) entry(seq uint64) fence.Entry {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], seq)
	data := make([]byte, floodMessage)
	_, _ = rand.NewChaCha8(seed).Read(data)
	return fence.Entry{Seq: seq, Time: floodStart + int64(seq)*int64(time.Millisecond), Subject: "events.0.log.api.l1", Data: data}
}

const floodStart = 1_790_000_000_000_000_000

func (f flood) Info(context.Context, string) (fence.Info, error) {
	return fence.Info{Created: floodStart, First: 1, Last: f.last}, nil
}

func (f flood) Read(_ context.Context, _ string, from uint64, most int) (out []fence.Entry, err error) {
	for seq := from; seq <= f.last && len(out) < most; seq++ {
		out = append(out, f.entry(seq))
	}
	return out, nil
}

func (flood) Append(context.Context, fence.Message, uint64) (uint64, error) {
	return 0, errors.New("an archiver appends nothing")
}

func (flood) Head(context.Context, string) (fence.Entry, error) {
	return fence.Entry{}, errors.New("an archiver reads no heads")
}

// ill is a way from here to the store that is out of order as told.
type ill struct {
	well  http.RoundTripper
	fault func(*http.Request) string // away, 503, full, hangs, answer lost, "" for none
}

func (i *ill) RoundTrip(r *http.Request) (*http.Response, error) {
	refuse := func(status int, code string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Status: http.StatusText(status), Request: r, Header: http.Header{"Content-Type": {"application/xml"}},
			Body: io.NopCloser(strings.NewReader("<Error><Code>" + code + "</Code><Message>not now</Message></Error>")),
		}, nil
	}
	switch i.fault(r) {
	case "away":
		return nil, errors.New("connection refused")
	case "503":
		return refuse(http.StatusServiceUnavailable, "SlowDown")
	case "full":
		return refuse(http.StatusInsufficientStorage, "XMinioStorageFull")
	case "hangs":
		<-r.Context().Done()
		return nil, r.Context().Err()
	case "answer lost":
		res, err := i.well.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		return nil, errors.New("connection reset")
	}
	return i.well.RoundTrip(r)
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestIllStore: eight times what an archiver may hold arrives while the store is
// away, full, hanging or asks for patience, and then while every other request
// fails. Nothing is lost, memory stays bounded, and it catches up by itself.
func TestIllStore(t *testing.T) {
	const cut, messages = 4 << 20, 512 // 32 MiB in all
	fault := ""
	c := config(t)
	c.Stall = 100 * time.Millisecond
	c.Wrap = func(well http.RoundTripper) http.RoundTripper {
		return &ill{well, func(*http.Request) string { return fault }}
	}
	store, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	log := flood{last: messages}
	a, err := archive.NewArchiver(log, store, archive.Config{Stream: "EVENTS_0", CutBytes: cut})
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	for _, fault = range []string{"away", "503", "full", "hangs"} {
		failed := 0
		for range 8 {
			if _, err := a.Step(t.Context()); err != nil {
				failed++
			}
		}
		if failed < 7 {
			t.Errorf("%s: %d of 8 steps failed; want all but one that only reads", fault, failed)
		}
		// One object and one batch, each once more while they are handled.
		if grown, most := heap()-before, int64(2*(cut+64*floodMessage)+8<<20); grown > most {
			t.Errorf("%s: memory grew by %d bytes; want at most %d", fault, grown, most)
		}
		// Well for a moment: one more object is begun. A gateway on a busy machine may
		// take longer than the stall, and is tried again.
		fault = ""
		for well, slow := 0, 0; well < 2; {
			if _, err := a.Step(t.Context()); err == nil {
				well++
			} else if slow++; slow > 100 {
				t.Fatal(err)
			}
		}
	}
	c.Stall = 0 // nothing hangs from here on
	rng := rand.New(rand.NewPCG(1, 2))
	c.Wrap = func(well http.RoundTripper) http.RoundTripper {
		return &ill{well, func(*http.Request) string {
			return []string{"", "", "", "", "away", "503", "full", "answer lost"}[rng.IntN(8)]
		}}
	}
	if store, err = s3.Open(c); err != nil {
		t.Fatal(err)
	}
	// A new archiver, as after a crash: what was in hand is read again.
	if a, err = archive.NewArchiver(log, store, archive.Config{Stream: "EVENTS_0", CutBytes: cut}); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for busy := true; busy || a.Next() <= messages; {
		if busy, err = a.Step(t.Context()); err != nil {
			busy = true
			failed++
		}
		if failed > 1000 {
			t.Fatalf("does not catch up: %v", err)
		}
	}
	for a.Tip().First <= messages && failed < 1000 {
		if err := a.Flush(t.Context()); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no request failed: nothing was tried")
	}
	fault = ""
	c.Wrap = nil
	next := uint64(1)
	well := open(t, c)
	err = archive.Cat(t.Context(), well, archive.Filter{}, func(r *archive.Record) error {
		if want := log.entry(next); r.Seq != next || string(r.Payload) != string(want.Data) {
			return errors.New("another message than was read")
		}
		next++
		return nil
	})
	if err != nil || next != messages+1 {
		t.Errorf("%d of %d messages come back: %v", next-1, messages, err)
	}
	report, err := archive.Verify(t.Context(), well, archive.Options{Full: true})
	if err != nil || !report.OK() {
		t.Errorf("verify: %v, %v", report.Problems, err)
	}
}
