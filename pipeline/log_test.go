package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// admin is the plain client, for what Millrace itself never does.
func admin(t *testing.T, s *pipelinetest.Server) jetstream.JetStream {
	t.Helper()
	return dial(t, s.URL())
}

func dial(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

var partialsConfig = jetstream.StreamConfig{
	Name: "PARTIALS", Subjects: []string{"partials.*"}, Discard: jetstream.DiscardNew, MaxBytes: 2 << 20,
}

// partials gives a server with an empty stream PARTIALS.
func partials(t *testing.T) (*pipelinetest.Server, jetstream.JetStream) {
	t.Helper()
	s := pipelinetest.Start(t)
	js := admin(t, s)
	if _, err := js.CreateStream(t.Context(), partialsConfig); err != nil {
		t.Fatal(err)
	}
	return s, js
}

func newLog(t *testing.T, c *pipeline.Conn) *pipeline.Log {
	l := c.Log()
	t.Cleanup(l.Close)
	return l
}

func TestMain(m *testing.M) {
	if url := os.Getenv(consumeURL); url != "" {
		fmt.Fprintln(os.Stderr, "error:", consumeUntilKilled(url))
		os.Exit(1)
	}
	pipelinetest.Main(m)
}

func TestLogConformance(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) string{
		"embedded": func(t *testing.T) string { return pipelinetest.Start(t).URL() },
		"process":  func(t *testing.T) string { return pipelinetest.StartProcess(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			fencetest.Conformance(t, func(t *testing.T) fencetest.Env { return env(t, start(t), 1) })
		})
	}
	t.Run("three servers", func(t *testing.T) {
		url := pipelinetest.StartCluster(t)
		fencetest.Conformance(t, func(t *testing.T) fencetest.Env { return env(t, url, 3) })
	})
}

// env is a log on the broker at a URL, each through a proxy of its own.
func env(t *testing.T, url string, replicas int) fencetest.Env {
	js := dial(t, url)
	create := func() {
		t.Helper()
		config := partialsConfig
		config.Replicas = replicas
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = js.DeleteStream(context.Background(), config.Name) })
		// The server that logs speak to may hear of a new stream later than others.
		pipelinetest.Within(t, "the stream answers", func() bool {
			_, err := js.Publish(t.Context(), "partials.0", nil, jetstream.WithExpectLastSequencePerSubject(1000))
			refused := (*jetstream.APIError)(nil)
			return errors.As(err, &refused)
		})
	}
	create()
	proxies := map[fence.Log]*pipelinetest.Proxy{}
	return fencetest.Env{
		Log: func() fence.Log {
			p := pipelinetest.StartProxy(t, strings.TrimPrefix(url, "nats://"))
			l := newLog(t, connectURL(t, p.URL()))
			proxies[l] = p
			return l
		},
		Arm: func(l fence.Log, f fencetest.Fault) { proxies[l].Arm(f) },
		Recreate: func(stream string) {
			if err := js.DeleteStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			create()
		},
	}
}

func connectURL(t *testing.T, url string) *pipeline.Conn {
	t.Helper()
	c, err := pipeline.Connect(t.Context(), pipeline.Config{URL: url, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	pipeline.Doubt(c, time.Second)
	return c
}

// fill appends n messages of a size to partials.0.
func fill(t *testing.T, js jetstream.JetStream, n, size int) {
	t.Helper()
	for i := range n {
		if _, err := js.Publish(t.Context(), "partials.0", fmt.Appendf(nil, "%0*d", size, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads n entries from a sequence on and checks that none is missing.
func readAll(t *testing.T, l *pipeline.Log, from uint64, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n > 0 {
		entries, err := l.Read(ctx, "PARTIALS", from, n)
		if err != nil && !errors.Is(err, pipeline.ErrBehind) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Seq != from {
				t.Fatalf("read %d, want %d", e.Seq, from)
			}
			from++
		}
		if n -= len(entries); len(entries) == 0 {
			select {
			case <-l.Changed():
			case <-ctx.Done():
				t.Fatalf("%d entries from %d on did not come", n, from)
			}
		}
	}
}

// A reader goes on where it was after the broker was gone and lost every
// consumer, and after the connection was cut in the middle of deliveries.
func TestReaderSurvivesRestart(t *testing.T) {
	s, js := partials(t)
	p := pipelinetest.StartProxy(t, s.Address())
	l := newLog(t, s.ConnectURL(t, p.URL()))
	fill(t, js, 100, 1000)
	readAll(t, l, 1, 50)
	s.Restart(t)
	js = admin(t, s)
	fill(t, js, 100, 1000)
	readAll(t, l, 51, 150)
	for i := range 5 {
		fill(t, js, 40, 1000)
		readAll(t, l, uint64(201+40*i), 20)
		p.Cut()
		readAll(t, l, uint64(221+40*i), 20)
	}
}

// A stream that loses its tail under a reader is an incident, not a silence, also
// where it is beyond the reader's position again before the reader looks.
func TestReaderNoticesRewind(t *testing.T) {
	for _, again := range []int{5, 10, 20} {
		t.Run(fmt.Sprintf("10 lost, %d written", again), func(t *testing.T) {
			s, js := partials(t)
			p := pipelinetest.StartProxy(t, s.Address())
			l := newLog(t, s.ConnectURL(t, p.URL()))
			fill(t, js, 10, 10)
			readAll(t, l, 1, 10)
			p.Pause(true)
			if err := js.DeleteStream(t.Context(), "PARTIALS"); err != nil {
				t.Fatal(err)
			}
			// The server may not have removed the files yet.
			pipelinetest.Within(t, "the stream is made again", func() bool {
				_, err := js.CreateStream(t.Context(), partialsConfig)
				return err == nil
			})
			fill(t, js, again, 10)
			p.Pause(false)
			pipelinetest.Within(t, "the rewind is noticed", func() bool {
				entries, err := l.Read(t.Context(), "PARTIALS", 11, 10)
				if len(entries) > 0 {
					t.Fatalf("read %d after the stream was lost", entries[0].Seq)
				}
				if err != nil && !errors.Is(err, fence.ErrRecreated) {
					t.Fatal(err)
				}
				return err != nil
			})
		})
	}
}

// Whoever reads on sees that the stream is another, also if it met none in between, had
// read nothing, or begins elsewhere; and goes on in it once it has asked for its extent.
func TestReaderNoticesAnotherStream(t *testing.T) {
	for _, read := range []int{0, 10} {
		for _, asked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d read, asked %t", read, asked), func(t *testing.T) {
				s, js := partials(t)
				l := newLog(t, s.Connect(t))
				if asked {
					if _, err := l.Info(t.Context(), "PARTIALS"); err != nil {
						t.Fatal(err)
					}
				}
				fill(t, js, read, 10)
				readAll(t, l, 1, read)
				if entries, err := l.Read(t.Context(), "PARTIALS", uint64(read+1), 10); len(entries) > 0 || err != nil {
					t.Fatal(entries, err)
				}
				if err := js.DeleteStream(t.Context(), "PARTIALS"); err != nil {
					t.Fatal(err)
				}
				if read > 0 {
					pipelinetest.Within(t, "the reader sees that it is gone", func() bool {
						_, err := l.Read(t.Context(), "PARTIALS", uint64(read+1), 10)
						return err != nil
					})
				}
				pipelinetest.Within(t, "the stream is made again", func() bool {
					_, err := js.CreateStream(t.Context(), partialsConfig)
					return err == nil
				})
				fill(t, js, 20, 10)
				for _, from := range []uint64{uint64(read + 1), 1, 15} {
					pipelinetest.Within(t, "it is another", func() bool {
						entries, err := l.Read(t.Context(), "PARTIALS", from, 10)
						if len(entries) > 0 {
							t.Fatalf("read %d of another stream", entries[0].Seq)
						}
						return errors.Is(err, fence.ErrRecreated)
					})
				}
				if _, err := l.Info(t.Context(), "PARTIALS"); err != nil {
					t.Fatal(err)
				}
				readAll(t, l, 1, 20)
			})
		}
	}
}

// What is read ahead is bounded by bytes, also where messages are large, and
// nothing is lost by it.
func TestReadAheadIsBounded(t *testing.T) {
	s := pipelinetest.Start(t)
	js := admin(t, s)
	c := partialsConfig
	c.MaxBytes = 64 << 20
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	const n, size = 60, 500 << 10
	fill(t, js, n, size)
	conn := s.Connect(t)
	l := newLog(t, conn)
	if _, err := l.Read(t.Context(), "PARTIALS", 1, 1); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Within(t, "the reader is full", func() bool { return pipeline.Buffered(l, "PARTIALS") > 2<<20 })
	if got := pipeline.Buffered(l, "PARTIALS"); got > 4<<20 {
		t.Errorf("%d bytes are read ahead, want at most 4 MiB", got)
	}
	for seq := uint64(1); seq <= n; {
		entries, err := l.Read(t.Context(), "PARTIALS", seq, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			t.Fatalf("nothing from %d on, and the stream goes to %d", seq, n)
		}
		for _, e := range entries {
			if e.Seq != seq {
				t.Fatalf("read %d, want %d", e.Seq, seq)
			}
			seq++
		}
		if got := pipeline.Buffered(l, "PARTIALS"); got > 4<<20 {
			t.Fatalf("%d bytes are read ahead, want at most 4 MiB", got)
		}
	}
	if n := metric(t, s, "millrace_read_restarts_total"); n != 0 {
		t.Errorf("the reader started anew %v times", n)
	}
}

// A machine that may not take what it read asks for it again; that costs the
// broker nothing.
func TestReadAgainIsFree(t *testing.T) {
	s, js := partials(t)
	fill(t, js, 10, 10)
	l := newLog(t, s.Connect(t))
	readAll(t, l, 1, 10)
	for range 100 {
		readAll(t, l, 10, 1)
	}
	if n, err := js.Stream(t.Context(), "PARTIALS"); err != nil || n.CachedInfo().State.Consumers != 1 {
		t.Errorf("%d consumers, %v; want 1", n.CachedInfo().State.Consumers, err)
	}
	l.Close()
	pipelinetest.Within(t, "the consumer is gone", func() bool {
		n, err := js.Stream(t.Context(), "PARTIALS")
		return err == nil && n.CachedInfo().State.Consumers == 0
	})
}

func TestReadErrors(t *testing.T) {
	s, js := partials(t)
	l := newLog(t, s.Connect(t))
	if _, err := l.Read(t.Context(), "ALERTS", 1, 1); err == nil || !strings.Contains(err.Error(), "millrace apply") {
		t.Errorf("read of a stream that is not there: %v", err)
	}
	if _, err := l.Head(t.Context(), "shop.orders"); err == nil || !strings.Contains(err.Error(), "no stream of Millrace") {
		t.Errorf("head of a foreign subject: %v", err)
	}
	fill(t, js, 1, 10)
	readAll(t, l, 1, 1)
	if err := js.DeleteStream(t.Context(), "PARTIALS"); err != nil {
		t.Fatal(err)
	}
	pipelinetest.Within(t, "the lost stream is noticed", func() bool {
		_, err := l.Read(t.Context(), "PARTIALS", 2, 1)
		return errors.Is(err, jetstream.ErrStreamNotFound)
	})
}

func TestAppendTooLarge(t *testing.T) {
	s, _ := partials(t)
	l := newLog(t, s.Connect(t))
	_, err := l.Append(t.Context(), fence.Message{Subject: "partials.0", Data: make([]byte, 2<<20)}, 0)
	if err == nil || errors.Is(err, fence.ErrUnknown) || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("append of 2 MiB: %v, want a final error that names max_payload", err)
	}
	if _, err := l.Append(t.Context(), fence.Message{Subject: "partials.0"}, 0); err != nil {
		t.Errorf("the next append: %v", err)
	}
}
