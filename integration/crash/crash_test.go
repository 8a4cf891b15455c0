package crash_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine/oracle"
	"github.com/dermai/millrace/schemas"
)

var (
	kills = flag.Int("kills", 14, "how many processes to kill")
	seed  = flag.Int64("seed", 0, "decides everything that the test chooses; 0: the clock")
)

// outside are those who keep ledgers and are never killed: a client that sends
// events, and a receiver that is told of alerts.
type outside struct {
	t   *testing.T
	rng *rand.Rand

	mu        sync.Mutex
	accepted  map[string]bool // ids of events answered 202
	refused   map[string]bool // ids of events answered 4xx: never stored
	sent      int
	told      map[string]int // attempts by notification id
	delivered map[string]bool
	ambiguous map[string]int // attempts that got no answer
}

var notificationID = regexp.MustCompile(`notification ([0-9a-f]{32})`)

// ServeHTTP is the receiver: Slack's webhook, with bad days.
func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m := notificationID.FindSubmatch(body)
	if m == nil {
		o.t.Errorf("a notification without its id: %s", body)
		return
	}
	id := string(m[1])
	o.told[id]++
	switch o.rng.Intn(10) {
	case 0:
		w.WriteHeader(http.StatusInternalServerError)
	case 1: // taken, but the answer is lost
		o.delivered[id] = true
		o.ambiguous[id]++
		panic(http.ErrAbortHandler)
	default:
		o.delivered[id] = true
		_, _ = io.WriteString(w, "ok")
	}
}

// send posts events until ctx ends and notes what became of them.
func (o *outside) send(ctx context.Context, url string) {
	client := &http.Client{Timeout: 10 * time.Second}
	pace := time.NewTicker(40 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		body, ids := o.batch(n)
		resp, err := client.Post(url, "application/x-ndjson", bytes.NewReader(body))
		if err != nil {
			continue // unknown: stored or not
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		o.mu.Lock()
		for _, id := range ids {
			switch {
			case resp.StatusCode == http.StatusAccepted:
				o.accepted[id] = true
			case resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
				o.refused[id] = true
			}
		}
		o.mu.Unlock()
	}
}

// batch makes a request with a few events of every kind, some late; now and then
// one is bad and refuses the whole.
func (o *outside) batch(n int) (body []byte, ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	trouble := n/100%2 == 1 // errors come in waves
	for range 1 + o.rng.Intn(4) {
		o.sent++
		id := fmt.Sprintf("e%d", o.sent)
		ids = append(ids, id)
		at := time.Now().UTC()
		if o.rng.Intn(10) == 0 {
			at = at.Add(-time.Duration(o.rng.Intn(5000)) * time.Millisecond)
		}
		service := []string{"api", "billing"}[o.rng.Intn(2)]
		stamp := at.Format(time.RFC3339Nano)
		switch o.rng.Intn(6) {
		case 0:
			fmt.Fprintf(&b, `{"id":%q,"timestamp":%q,"service":%q,"user":"u%d","action":"READ","resource":"r%d","success":%t}`+"\n",
				id, stamp, service, o.rng.Intn(3), o.rng.Intn(9), !trouble)
		case 1:
			fmt.Fprintf(&b, `{"id":%q,"timestamp":%q,"service":%q,"kind":"metric","name":"system.cpu","type":"gauge","value":%d,"instance":"i1"}`+"\n",
				id, stamp, service, 60+o.rng.Intn(40))
		default:
			status := 200
			if trouble && o.rng.Intn(4) == 0 {
				status = 500
			}
			fmt.Fprintf(&b, `{"id":%q,"timestamp":%q,"service":%q,"level":"INFO","message":"API request","status_code":%d,"duration_ms":%d}`+"\n",
				id, stamp, service, status, o.rng.Intn(900))
		}
	}
	if o.rng.Intn(50) == 0 {
		b.WriteString(`{"timestamp":"yesterday","message":"bad"}` + "\n")
	}
	return []byte(b.String()), ids
}

// auditRules watch the audit trail too, so that both evaluators have work.
const auditRules = `
groups:
  - name: audit
    rules:
      - alert: DeniedAccess
        on: audit
        where: not success
        by: [service]
        count: true
        window: 8s
        fire: "> 3"
        for: 1s
`

func TestKilledAtRandomMoments(t *testing.T) {
	if *seed == 0 {
		*seed = time.Now().UnixNano() % 1e9
	}
	t.Logf("seed %d; again with: go test ./integration/crash -seed %d -kills %d", *seed, *seed, *kills)
	bin := testenv.Build(t, testenv.Programs, testenv.NATSServer)
	ctx := t.Context()
	rng := rand.New(rand.NewSource(*seed))
	o := &outside{
		t: t, rng: rand.New(rand.NewSource(*seed + 1)),
		accepted: map[string]bool{}, refused: map[string]bool{},
		told: map[string]int{}, delivered: map[string]bool{}, ambiguous: map[string]int{},
	}
	receiver := httptest.NewServer(o)
	defer receiver.Close()

	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nats, url := testenv.NATS(t, filepath.Join(bin, "nats-server"), dir)
	write("demo.yaml", rules.Demo().Text)
	write("audit.yaml", auditRules)
	write("millrace.yaml", fmt.Sprintf(`
data: %q
nats: {url: %q}
rules: [demo.yaml, audit.yaml]
archive: {cut_age: 2s}
route: {receiver: team, group_interval: 2s, repeat_interval: 10s}
receivers:
  - name: team
    max_per_minute: 0
    slack: {webhook_url: %q}
`, dir, url, receiver.URL+"/services/T0/B0/secret"))

	conn := connect(ctx, t, url)
	defer conn.Close()
	millrace := func(args ...string) {
		testenv.Program{Path: filepath.Join(bin, "millrace"), Args: args, Dir: dir}.Run(t)
	}
	millrace("apply")
	all := []*testenv.Process{nats}
	for _, name := range []string{"publisher", "processor", "processor", "archiver", "archiver"} {
		all = append(all, testenv.Daemon(t, filepath.Join(bin, name), dir))
	}
	publisher := all[1]
	for _, p := range all[1:] {
		p.Ready()
	}

	// Traffic, and death at random moments.
	sending, silence := context.WithCancel(ctx)
	var senders sync.WaitGroup
	senders.Go(func() { o.send(sending, "http://"+publisher.HTTP+"/v1/events") })
	wait := func(least, most time.Duration) {
		timer := time.NewTimer(least + time.Duration(rng.Int63n(int64(most-least))))
		defer timer.Stop()
		<-timer.C
	}
	victims := rng.Perm(len(all)) // each dies at least once
	for i := range *kills {
		wait(500*time.Millisecond, 3*time.Second)
		p := all[victims[i%len(victims)]]
		if !p.Alive() {
			t.Fatalf("%s had ended by itself", p.Path)
		}
		p.Kill()
		wait(10*time.Millisecond, 1500*time.Millisecond)
		p.Restart()
		if i%len(victims) == len(victims)-1 {
			victims = rng.Perm(len(all))
		}
	}
	for _, p := range all[1:] {
		p.Ready()
	}
	wait(3*time.Second, 4*time.Second) // what follows the last death
	silence()
	senders.Wait()

	// Everything drains: what was stored by now is decided, told and archived.
	log := conn.Log()
	defer log.Close()
	drained(ctx, t, log)
	for _, p := range all[1:] {
		p.Signal(syscall.SIGTERM)
		p.Wait()
	}
	millrace("archive", "flush") // what was stored while the archivers stopped
	checkStored(ctx, t, log, o)
	checkDecided(ctx, t, log)
	checkTold(ctx, t, log, o)
	checkArchive(ctx, t, log, filepath.Join(dir, "archive"))
}

// connect waits for the broker.
func connect(ctx context.Context, t *testing.T, url string) *pipeline.Conn {
	t.Helper()
	var conn *pipeline.Conn
	testenv.Eventually(t, "the broker answers", func() (err error) {
		conn, err = pipeline.Connect(ctx, pipeline.Config{URL: url})
		return err
	})
	return conn
}

// drained waits until both classes are decided beyond everything that is stored.
func drained(ctx context.Context, t *testing.T, log fence.Log) {
	t.Helper()
	now := time.Now().UnixNano()
	for _, class := range schemas.Classes {
		testenv.Eventually(t, string(class)+" is decided", func() error {
			_, tick, err := reference.Decided(ctx, log, class)
			if err == nil && tick*1e9 <= now {
				err = fmt.Errorf("up to %v, %v behind", time.Unix(tick, 0).UTC(), time.Duration(now-tick*1e9))
			}
			return err
		})
	}
	testenv.Eventually(t, "every notification is delivered", func() error {
		planned, delivered := 0, 0
		err := reference.Each(ctx, log, schemas.StreamNotify, func(e fence.Entry) error {
			if e.Header[schemas.HeaderType] == schemas.TypeNotification {
				planned++
			}
			return nil
		})
		if err == nil {
			err = reference.Each(ctx, log, schemas.StreamDeliveries, func(e fence.Entry) error {
				var d schemas.Delivery
				if e.Header[schemas.HeaderType] == schemas.TypeDelivery {
					if err := schemas.DecodeInto(e.Data, &d); err != nil {
						return err
					}
					if d.Outcome == schemas.DeliveryDelivered {
						delivered++
					}
				}
				return nil
			})
		}
		if err == nil && delivered != planned {
			err = fmt.Errorf("%d of %d", delivered, planned)
		}
		return err
	})
}

// checkStored: what was accepted is stored once, what was refused is not, and
// nothing was invented.
func checkStored(ctx context.Context, t *testing.T, log fence.Log, o *outside) {
	t.Helper()
	schedule, err := reference.Schedule(ctx, log, new(rules.Cache))
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	lanes := map[string]uint64{}
	for _, class := range schemas.Classes {
		messages, err := reference.Messages(ctx, log, schedule, class)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if m.Tick {
				continue
			}
			h, err := schemas.ParseFrameHeader(m.Entry.Header)
			if err != nil {
				t.Errorf("%s, message %d: %v", m.Partition.Stream(), m.Entry.Seq, err)
			}
			if lanes[m.Entry.Subject]++; h.Counter != lanes[m.Entry.Subject] {
				t.Errorf("%s: frame %d comes where %d is due", m.Entry.Subject, h.Counter, lanes[m.Entry.Subject])
			}
			for _, e := range m.Events {
				stored[e.ID]++
			}
		}
	}
	if len(o.accepted) < 100 || len(lanes) < 6 {
		t.Errorf("only %d events were accepted, in %d lanes: the test tested nothing", len(o.accepted), len(lanes))
	}
	for id := range o.accepted {
		if stored[id] != 1 {
			t.Errorf("event %s was accepted and is stored %d times", id, stored[id])
		}
	}
	for id, n := range stored {
		if o.refused[id] || n > 1 {
			t.Errorf("event %s is stored %d times; refused: %t", id, n, o.refused[id])
		}
	}
	t.Logf("%d events sent, %d accepted, %d refused, %d stored in %d lanes", o.sent, len(o.accepted), len(o.refused), len(stored), len(lanes))
}

// checkDecided: the transitions are those that the naive oracle finds.
func checkDecided(ctx context.Context, t *testing.T, log fence.Log) {
	t.Helper()
	schedule, err := reference.Schedule(ctx, log, new(rules.Cache))
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range schemas.Classes {
		live, last, err := reference.Decided(ctx, log, class)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := reference.Messages(ctx, log, schedule, class)
		if err != nil {
			t.Fatal(err)
		}
		if len(live) == 0 {
			t.Errorf("%s: no alert changed: the test tested nothing", class)
		}
		want := oracle.Transitions(schedule, reference.Events(messages), class, last)
		if err := reference.Differ("the oracle", live, want); err != nil {
			t.Errorf("%s: %v", class, err)
		}
		t.Logf("%s: %d transitions", class, len(live))
	}
}

// checkTold: each planned notification was delivered, under its id, and none
// was invented; it was sent again only after an attempt that did not end well.
func checkTold(ctx context.Context, t *testing.T, log fence.Log, o *outside) {
	t.Helper()
	planned := map[string]bool{}
	err := reference.Each(ctx, log, schemas.StreamNotify, func(e fence.Entry) error {
		if e.Header[schemas.HeaderType] != schemas.TypeNotification {
			return nil
		}
		var n schemas.Notification
		if err := schemas.DecodeInto(e.Data, &n); err != nil {
			return err
		}
		if planned[n.ID] {
			t.Errorf("notification %s is planned twice", n.ID)
		}
		planned[n.ID] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// An attempt may be repeated when it is not recorded as delivered.
	unsure := map[string]int{}
	err = reference.Each(ctx, log, schemas.StreamDeliveries, func(e fence.Entry) error {
		if e.Header[schemas.HeaderType] != schemas.TypeDelivery {
			return nil
		}
		var d schemas.Delivery
		if err := schemas.DecodeInto(e.Data, &d); err != nil {
			return err
		}
		switch d.Outcome {
		case schemas.DeliveryAmbiguous, schemas.DeliveryRetry:
			unsure[d.Notification]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	repeats := 0
	for id := range planned {
		if !o.delivered[id] {
			t.Errorf("notification %s never arrived", id)
		}
		repeats += o.told[id] - 1
		if o.told[id] > 1+unsure[id] {
			t.Errorf("notification %s was sent %d times, but only %d attempts were ambiguous or refused", id, o.told[id], unsure[id])
		}
	}
	for id := range o.told {
		if !planned[id] {
			t.Errorf("notification %s was sent and never planned", id)
		}
	}
	t.Logf("%d notifications, %d repeated sends", len(planned), repeats)
}

// checkArchive: the archive holds each message of each stream once, as it is.
func checkArchive(ctx context.Context, t *testing.T, log fence.Log, dir string) {
	t.Helper()
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	report, err := archive.Verify(ctx, store, archive.Options{Full: true})
	if err != nil || !report.OK() {
		t.Errorf("verify: %v %v", err, report.Problems)
	}
	streams := []string{schemas.StreamControl, schemas.StreamAlerts, schemas.StreamAudit}
	for p := range 4 {
		streams = append(streams, schemas.Partition(p).Stream())
	}
	total := 0
	for _, name := range streams {
		var got, want []fence.Entry
		err := archive.Cat(ctx, store, archive.Filter{Stream: name}, func(r *archive.Record) error {
			got = append(got, fence.Entry{Seq: r.Seq, Time: r.Time, Subject: r.Subject, Header: r.Header, Data: bytes.Clone(r.Payload)})
			return nil
		})
		if err != nil {
			t.Errorf("cat %s: %v", name, err)
		}
		if err := reference.Each(ctx, log, name, func(e fence.Entry) error {
			want = append(want, e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		total += len(want)
		for len(want) > len(got) && empty(want[len(want)-1]) {
			want = want[:len(want)-1] // these alone are not worth an object
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s has %d messages, the archive %d (-stored +archived):\n%s", name, len(want), len(got), diff[:min(2000, len(diff))])
		}
	}
	t.Logf("%d messages, archived in %d chains", total, len(report.Chains))
}

// empty tells that a message has no content: a tick of a partition or of the
// control log, or the end of a lane.
func empty(e fence.Entry) bool {
	return strings.HasSuffix(e.Subject, ".tick") || e.Header[schemas.HeaderFinal] != "" || string(e.Data) == "{}"
}
