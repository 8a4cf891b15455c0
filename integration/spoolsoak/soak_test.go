package spoolsoak_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
)

var (
	events = flag.Int("events", 60_000, "how many events the publisher takes while there is no broker")
	kills  = flag.Int("kills", 6, "how often it is killed: the first half while it writes, the others while it sends")
	flips  = flag.Int("flips", 10, "how many bits flip on its disk")
	seed   = flag.Uint64("seed", 0, "decides what the test chooses; 0: the clock")
)

// soak is one run.
type soak struct {
	t     *testing.T
	rng   *rand.Rand
	url   string
	dir   string
	lives int
	taken map[string]bool // events for which Publish returned nil
}

// life starts the publisher and reads what it says. until is asked after each
// call that was taken; then, or when after is over, the publisher is killed.
func (s *soak) life(pause time.Duration, until func(events int) bool, after time.Duration, sig syscall.Signal) {
	s.t.Helper()
	s.lives++
	life := strconv.Itoa(s.lives)
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{childURL + "=" + s.url, childDir + "=" + s.dir, childLife + "=" + life, childPause + "=" + pause.String()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	end := func() { _ = cmd.Process.Signal(sig) }
	lines := bufio.NewScanner(out)
	n := 0
	for lines.Scan() {
		var w, c int
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &w, &c); err != nil {
			if lines.Text() == "open" && after > 0 {
				time.AfterFunc(after, end)
			}
			continue
		}
		for i := range perCall {
			s.taken[name(life, w, c, i)] = true
		}
		n += perCall
		if until != nil && until(n) {
			end()
			until = nil
		}
	}
	err = cmd.Wait()
	if sig == syscall.SIGTERM && err != nil {
		s.t.Errorf("life %s did not end in order: %v", life, err)
	}
}

// content reads a copy of the spool: the events of each record.
func (s *soak) content() map[string][]string {
	s.t.Helper()
	dir := s.t.TempDir()
	names, err := filepath.Glob(filepath.Join(s.dir, "*.spool"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, from := range names {
		if err := os.Link(from, filepath.Join(dir, filepath.Base(from))); err != nil { // it is only read
			s.t.Fatal(err)
		}
	}
	copied, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 8 << 30})
	if err != nil {
		s.t.Fatal(err)
	}
	defer copied.Close()
	out := map[string][]string{}
	for _, lane := range copied.Lanes() {
		records, err := copied.Peek(lane, func(*spool.Record) bool { return true })
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range records {
			key := fmt.Sprint(lane, " ", r.Batch)
			out[key] = messages(s.t, r.Data)
		}
	}
	return out
}

func messages(t *testing.T, data []byte) []string {
	t.Helper()
	plain, err := schemas.Unpack(nil, data, schemas.FrameDecoded)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range schemas.Lines(plain) {
		_, rest, _ := bytes.Cut(line, []byte(`"message":"`)) // decoding all would take longer than the run
		message, _, ok := bytes.Cut(rest, []byte(`"`))
		if !ok {
			t.Fatalf("no event: %.200s", line)
		}
		out = append(out, string(message))
	}
	return out
}

// flip flips bits on the disk, each in a record of its own, and returns the
// events that are lost by it. Every flip must be named.
func (s *soak) flip() map[string]bool {
	s.t.Helper()
	before := s.content()
	names, err := filepath.Glob(filepath.Join(s.dir, "*.spool"))
	if err != nil || len(names) == 0 {
		s.t.Fatalf("no segments: %v", err)
	}
	type place struct {
		name   string
		offset int64
	}
	var places []place
	for range *flips {
		path := names[s.rng.IntN(len(names))]
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			s.t.Fatal(err)
		}
		at := 16 + s.rng.Int64N(info.Size()-16)
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil && err != io.EOF {
			s.t.Fatal(err)
		}
		b[0] ^= 1 << s.rng.IntN(8)
		if _, err := f.WriteAt(b, at); err != nil {
			s.t.Fatal(err)
		}
		f.Close()
		places = append(places, place{filepath.Base(path), at})
	}
	report, err := spool.Check(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range places {
		named := false
		for _, d := range report.Damaged {
			named = named || d.Segment == p.name && d.Offset <= p.offset && p.offset < d.Offset+d.Length
		}
		if !named {
			s.t.Errorf("the flipped bit at %s:%d is not named", p.name, p.offset)
		}
	}
	lost, after := map[string]bool{}, s.content()
	records := 0
	for key, events := range before {
		if after[key] == nil {
			records++
			for _, e := range events {
				lost[e] = true
			}
		}
	}
	if records == 0 || records > *flips {
		s.t.Errorf("%d flipped bits took %d records", *flips, records)
	}
	s.t.Logf("%d flipped bits took %d records with %d events, of %d records; %d places are named",
		*flips, records, len(lost), len(before), len(report.Damaged))
	return lost
}

func TestSpoolSoak(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano() % 1e9)
	}
	t.Logf("seed %d", *seed)
	broker := pipelinetest.Start(t)
	if _, err := pipeline.Apply(t.Context(), broker.Connect(t), pipeline.Layout{Partitions: 2, Archived: true, Sync: broker.Sync}, false); err != nil {
		t.Fatal(err)
	}
	s := &soak{t: t, rng: rand.New(rand.NewPCG(*seed, 1)), url: broker.URL(), dir: filepath.Join(t.TempDir(), "spool"), taken: map[string]bool{}}
	broker.Stop()

	// Killed while it writes.
	writing, began := *kills/2, time.Now()
	for i := range writing {
		share := *events * (i + 1) / writing
		s.life(0, func(int) bool { return len(s.taken) >= share }, 0, syscall.SIGKILL)
	}
	spent := time.Since(began)
	t.Logf("without a broker: %d events in %.1f s, %.0f/s", len(s.taken), spent.Seconds(), float64(len(s.taken))/spent.Seconds())
	lost := s.flip()

	// Killed while it sends, and takes more.
	broker.Restart(t)
	began = time.Now()
	sending := 0
	for i := range *kills - writing { // the first before it can have sent all
		s.life(20*time.Millisecond, nil, time.Duration(5+s.rng.IntN(min(400, 40*(i+1))))*time.Millisecond, syscall.SIGKILL)
		if waiting(t, s.dir) > 0 {
			sending++
		}
	}
	s.life(20*time.Millisecond, func(int) bool { return waiting(t, s.dir) == 0 }, 0, syscall.SIGTERM)
	t.Logf("sent in %.1f s, %d kills found the spool not empty", time.Since(began).Seconds(), sending)
	if sending == 0 {
		t.Error("no kill came while it was sending: more events")
	}
	s.compare(broker.Connect(t), lost)
}

// waiting is how many records a spool has that may not be at the broker.
func waiting(t *testing.T, dir string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// compare reads every event that the broker has.
func (s *soak) compare(conn *pipeline.Conn, lost map[string]bool) {
	s.t.Helper()
	log := conn.Log()
	defer log.Close()
	count := map[string]int{}
	for p := range schemas.Partition(2) {
		info, err := log.Info(s.t.Context(), p.Stream())
		if err != nil {
			s.t.Fatal(err)
		}
		for next := info.First; next <= info.Last; {
			entries, err := log.Read(s.t.Context(), p.Stream(), next, 100)
			if err != nil {
				s.t.Fatal(err)
			}
			for _, e := range entries {
				next = e.Seq + 1
				for _, m := range messages(s.t, e.Data) {
					count[m]++
				}
			}
		}
	}
	missing, twice, back, more := 0, 0, 0, 0
	for m := range s.taken {
		if count[m] == 0 && !lost[m] {
			missing++
		}
	}
	for m, n := range count {
		switch {
		case n > 1:
			twice++
		case lost[m]:
			back++
		case !s.taken[m]:
			more++ // it was killed before it could say so
		}
	}
	s.t.Logf("%d events were taken, %d of them damaged; %d are stored, %d of which were not answered for", len(s.taken), len(lost), len(count), more)
	if missing+twice+back > 0 {
		s.t.Errorf("%d undamaged events are missing, %d are there twice, %d are damaged and there", missing, twice, back)
	}
	report, err := spool.Check(s.dir)
	if err != nil || len(report.Damaged) == 0 || len(report.Lanes) > 0 {
		s.t.Errorf("afterwards the spool has %d lanes and names %d damaged places: %v", len(report.Lanes), len(report.Damaged), err)
	}
}
