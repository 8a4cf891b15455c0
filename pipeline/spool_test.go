package pipeline_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
	"github.com/google/go-cmp/cmp"
)

// spooling publishes through a spool in dir.
func spooling(t *testing.T, c *pipeline.Conn, dir string) *pipeline.Publisher {
	t.Helper()
	return newPublisher(t, c, pipeline.PublisherConfig{Service: "shop", Partitions: 2, Spool: spool.Config{Dir: dir}})
}

// numbers are the messages of events.
func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func publishNumbers(t *testing.T, p *pipeline.Publisher, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := p.Publish(t.Context(), logEvent(fmt.Sprint(i))); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
}

// stored lists the messages of shop as the broker has them, lane by lane.
func stored(t *testing.T, c *pipeline.Conn) []string {
	t.Helper()
	return messages(frames(t, newLog(t, c), telemetry...))["shop"]
}

// empty tells whether a spool holds no event.
func empty(t *testing.T, dir string) bool {
	t.Helper()
	report, err := spool.Check(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(report.Lanes) == 0
}

// While the broker is away Publish returns nil from the spool; when it is back,
// all of it follows in order, in the same lane, and then the lane ends.
func TestSpoolBridgesAnOutage(t *testing.T) {
	s, _ := deployed(t)
	dir := t.TempDir()
	p := spooling(t, s.ConnectURL(t, s.URL()), dir)
	publishNumbers(t, p, 0, 5)
	s.Stop()
	publishNumbers(t, p, 5, 300)
	if empty(t, dir) {
		t.Fatal("nothing is in the spool")
	}
	s.Restart(t)
	c := s.Connect(t)
	pipelinetest.Within(t, "the spool is empty", func() bool { return empty(t, dir) })
	publishNumbers(t, p, 300, 310)
	closePublisher(t, p)
	got := frames(t, newLog(t, c), telemetry...)
	lanes, finals, largest := map[schemas.Subject][]string{}, 0, 0
	for _, f := range got {
		for _, e := range f.Events {
			lanes[f.Subject] = append(lanes[f.Subject], e.Message)
		}
		largest = max(largest, len(f.Events))
		if f.Final {
			finals++
		}
	}
	// Which of the two is read first is up to the partitions they fell on.
	stored := slices.SortedFunc(maps.Values(lanes), func(a, b []string) int { return len(b) - len(a) })
	if diff := cmp.Diff([][]string{numbers(0, 300), numbers(300, 310)}, stored); diff != "" {
		t.Errorf("stored, lane by lane (-published +there):\n%s", diff)
	}
	if len(lanes) != 2 || finals != 2 {
		t.Errorf("%d lanes with %d final frames; want the one of before and during the outage, and one of afterwards", len(lanes), finals)
	}
	if largest < 100 {
		t.Errorf("the largest frame has %d events: what waited was not put together", largest)
	}
}

// A publisher that never saw a broker keeps everything, and the next one sends it.
func TestSpoolOutlivesItsPublisher(t *testing.T) {
	s, _ := deployed(t)
	dir := t.TempDir()
	url := s.URL()
	s.Stop()
	for i := range 3 {
		c, err := pipeline.Connect(t.Context(), pipeline.Config{URL: url, Later: true})
		if err != nil {
			t.Fatal(err)
		}
		p := spooling(t, c, dir)
		publishNumbers(t, p, i*20, i*20+20)
		if !p.Enqueue(logEvent("x")) {
			t.Error("an event was shed")
		}
		closePublisher(t, p)
		c.Close()
	}
	s.Restart(t)
	c := s.Connect(t)
	p := spooling(t, c, dir)
	pipelinetest.Within(t, "the spool is empty", func() bool { return empty(t, dir) })
	closePublisher(t, p)
	var got []string
	for _, m := range stored(t, c) {
		if m != "x" {
			got = append(got, m)
		}
	}
	if len(got) != 60 {
		t.Errorf("%d events of 60", len(got))
	}
	seen := map[string]bool{}
	for _, m := range got {
		if seen[m] {
			t.Errorf("event %s is there twice", m)
		}
		seen[m] = true
	}
}

// However many copies of a spool send it, one after the other or at the same
// time, with its owner alive or not: each event is stored once.
func TestSpoolCopied(t *testing.T) {
	s, _ := deployed(t)
	url := s.URL()
	dirs := []string{t.TempDir()}
	owner := spooling(t, s.ConnectURL(t, url), dirs[0])
	publishNumbers(t, owner, 0, 3)
	s.Stop()
	publishNumbers(t, owner, 3, 200)
	for range 3 {
		dirs = append(dirs, t.TempDir())
		copySpool(t, dirs[0], dirs[len(dirs)-1])
	}
	publishNumbers(t, owner, 200, 260) // the owner has more than the copies
	s.Restart(t)
	var wg sync.WaitGroup
	for _, dir := range dirs[1:3] {
		c := s.ConnectURL(t, url)
		wg.Go(func() {
			p := spooling(t, c, dir)
			pipelinetest.Within(t, "a copy is empty", func() bool { return empty(t, dir) })
			closePublisher(t, p)
		})
	}
	wg.Wait()
	pipelinetest.Within(t, "the spool is empty", func() bool { return empty(t, dirs[0]) })
	publishNumbers(t, owner, 260, 270)
	closePublisher(t, owner)
	// One more, restored when everything is over.
	c := s.Connect(t)
	late := spooling(t, c, dirs[3])
	pipelinetest.Within(t, "the late copy is empty", func() bool { return empty(t, dirs[3]) })
	closePublisher(t, late)
	count := map[string]int{}
	for _, m := range stored(t, c) {
		count[m]++
	}
	for _, m := range numbers(0, 270) {
		if count[m] != 1 {
			t.Errorf("event %s is stored %d times", m, count[m])
		}
	}
	if len(count) != 270 {
		t.Errorf("%d events are stored", len(count))
	}
}

func copySpool(t *testing.T, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(from, "*.spool"))
	if err != nil || len(names) == 0 {
		t.Fatalf("nothing to copy: %v", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A full spool refuses with a time to try again at, and drops nothing it took.
func TestSpoolFull(t *testing.T) {
	s, _ := deployed(t)
	dir := t.TempDir()
	p := newPublisher(t, s.ConnectURL(t, s.URL()), pipeline.PublisherConfig{Partitions: 2, Spool: spool.Config{Dir: dir, MaxBytes: 2 << 20}})
	s.Stop()
	taken := 0
	var err error
	for i := 0; err == nil && i < 100; i++ {
		if err = p.PublishEncoded(t.Context(), "log", "shop", canonical(t, 1, 200<<10), "http"); err == nil {
			taken++
		}
	}
	if !errors.Is(err, spool.ErrFull) {
		t.Fatalf("after %d: %v", taken, err)
	}
	retryable(t, err, "spool is full")
	shed := metric(t, s, "millrace_publisher_shed_total")
	noise := make([]byte, 180<<10)
	_, _ = rand.Read(noise) // never fails
	big := logEvent(base64.StdEncoding.EncodeToString(noise))
	big.Service = "shop"
	for range 3 {
		p.Enqueue(big)
	}
	pipelinetest.Within(t, "what is shed is counted", func() bool { return metric(t, s, "millrace_publisher_shed_total") >= shed+1 })
	s.Restart(t)
	c := s.Connect(t)
	pipelinetest.Within(t, "the spool is empty", func() bool { return empty(t, dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.PublishEncoded(ctx, "log", "shop", canonical(t, 1, 10), "http"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	closePublisher(t, p)
	n := 0
	for _, f := range frames(t, newLog(t, c), telemetry...) {
		n += f.FrameHeader.Events
	}
	if n < taken+1 || n > taken+1+3 {
		t.Errorf("%d events are stored, %d were taken", n, taken+1)
	}
}

// While the broker takes frames the spool costs nothing that can be measured.
func BenchmarkPublish(b *testing.B) {
	for name, c := range map[string]pipeline.PublisherConfig{
		"without spool": {Partitions: 2},
		"with spool":    {Partitions: 2, Spool: spool.Config{Dir: b.TempDir()}},
	} {
		b.Run(name, func(b *testing.B) {
			s := pipelinetest.Start(b)
			conn := s.ConnectURL(b, s.URL())
			if _, err := pipeline.Apply(b.Context(), conn, small, false); err != nil {
				b.Fatal(err)
			}
			p, err := pipeline.NewPublisher(conn, c)
			if err != nil {
				b.Fatal(err)
			}
			e := logEvent("API request")
			e.Service = "shop"
			lines := make([][]byte, 1000)
			for i := range lines {
				if lines[i], err = schemas.AppendJSON(nil, &e); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			for b.Loop() {
				if err := p.PublishEncoded(b.Context(), "log", "shop", lines, "http"); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N*len(lines))/b.Elapsed().Seconds(), "events/s")
			if err := p.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// A lane of which the stream lost what it had acknowledged is left, also where the
// frames behind it come through the spool, and the next one says so.
func TestSpoolNoticesLoss(t *testing.T) {
	s, c := deployed(t)
	proxy := pipelinetest.StartProxy(t, s.Address())
	dir := t.TempDir()
	p := spooling(t, s.ConnectURL(t, proxy.URL()), dir)
	publishNumbers(t, p, 0, 5)
	lane := frames(t, newLog(t, c), telemetry...)[0].Subject
	subject, err := schemas.FrameSubject(lane.Partition, lane.Kind, lane.Service, lane.Lane)
	if err != nil {
		t.Fatal(err)
	}
	proxy.Pause(true)
	if err := newLog(t, c).Trim(t.Context(), schemas.StreamOf(subject), subject, 1000); err != nil {
		t.Fatal(err)
	}
	publishNumbers(t, p, 5, 10)
	proxy.Pause(false)
	pipelinetest.Within(t, "the spool is empty", func() bool { return empty(t, dir) })
	closePublisher(t, p)
	var got []string
	for _, f := range frames(t, newLog(t, c), telemetry...) {
		for _, e := range f.Events {
			got = append(got, e.Message)
		}
		if after := (schemas.LaneEnd{Lane: subject, Batch: 5}); (f.Subject != lane && f.Counter == 1) != (f.After == after) {
			t.Errorf("frame %d of %s comes after %+v, want %+v in the first of the new lane", f.Counter, f.Lane, f.After, after)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(numbers(5, 10), got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}
