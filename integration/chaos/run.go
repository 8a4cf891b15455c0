package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/dermai/millrace/pipeline"
)

// startLimit is how long it may take until everything runs.
const startLimit = time.Minute

// run is one run of a deployment under faults.
type run struct {
	o         *Options
	dir       string
	cluster   *cluster
	receivers *receivers
	conn      *pipeline.Conn // past all links

	sent   *ledger[Sent]
	told   *ledger[Told]
	faults *ledger[Fired]
	ended  *ledger[Ended]
	used   *ledger[Used]

	times Times
}

// Times are the moments of a run.
type Times struct {
	Began   time.Time `json:"began"`           // traffic flows
	Storm   time.Time `json:"storm"`           // the first fault may come
	Healed  time.Time `json:"healed"`          // the last fault is healed, everything runs
	Ready   time.Time `json:"ready"`           // every program says that work flows
	Decides time.Time `json:"decides"`         // both classes are decided beyond Healed
	Silence time.Time `json:"silence"`         // the writers ended
	Drained time.Time `json:"drained"`         // nothing is left to do; zero: it never came to that
	Told    uint64    `json:"told"`            // sequence of NOTIFY up to which all was told then
	Fault   string    `json:"fault,omitempty"` // why it did not drain
}

// execute makes a run in dir, and leaves in it everything that the checks want.
func execute(ctx context.Context, o *Options, bin, dir string) (err error) {
	r := &run{o: o, dir: dir}
	for _, d := range []string{dirLogs, dirStreams, dirArchive, dirMetrics} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	if err := writeJSON(filepath.Join(dir, fileOptions), o); err != nil {
		return err
	}
	if err := r.open(bin); err != nil {
		return errors.Join(err, r.close())
	}
	defer func() { err = errors.Join(err, r.close(), writeJSON(filepath.Join(dir, fileTimes), r.times)) }()
	if r.conn, err = r.cluster.start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	watching, endWatch := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { r.watch(watching) })
	defer watch.Wait()
	defer endWatch()
	if err := r.traffic(ctx); err != nil {
		return err
	}
	if r.times.Fault == "" { // what does not work again does not drain either
		if err := r.drain(ctx); err != nil {
			r.times.Fault = err.Error()
		} else {
			r.times.Drained = time.Now()
		}
	}
	endWatch()
	watch.Wait()
	if err := r.rest(ctx); err != nil {
		return err
	}
	return r.collect(ctx)
}

// open opens the ledgers and prepares the programs.
func (r *run) open(bin string) (err error) {
	file := func(name string) string { return filepath.Join(r.dir, name) }
	if r.sent, err = newLedger[Sent](file(fileSent)); err != nil {
		return err
	}
	if r.told, err = newLedger[Told](file(fileTold)); err != nil {
		return err
	}
	if r.faults, err = newLedger[Fired](file(fileFired)); err != nil {
		return err
	}
	if r.ended, err = newLedger[Ended](file(fileEnded)); err != nil {
		return err
	}
	if r.used, err = newLedger[Used](file(fileUsed)); err != nil {
		return err
	}
	if r.receivers, err = newReceivers(r.told); err != nil {
		return err
	}
	r.cluster, err = newCluster(r.o, bin, r.dir, r.receivers.addr)
	return err
}

// close ends everything that runs.
func (r *run) close() error {
	var faults []error
	if r.conn != nil {
		r.conn.Close()
	}
	if r.cluster != nil {
		faults = append(faults, r.cluster.close())
	}
	if r.receivers != nil {
		r.receivers.close()
	}
	for _, l := range []interface{ close() error }{r.sent, r.told, r.faults, r.ended, r.used} {
		faults = append(faults, l.close())
	}
	return errors.Join(faults...)
}

// random is a source of choices of its own for each who chooses, so that what one
// does next does not hang on how fast another is.
func (r *run) random(who string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, who) // never fails
	return rand.New(rand.NewSource(r.o.Seed ^ int64(h.Sum64())))
}

// traffic lets the writers write: in peace, through the faults, and for a while
// after all is healed.
func (r *run) traffic(ctx context.Context) error {
	url, err := r.cluster.over("library")
	if err != nil {
		return err
	}
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: url, Name: "library"})
	if err != nil {
		return err
	}
	defer conn.Close()
	library, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{})
	if err != nil {
		return err
	}
	door := "http://" + r.cluster.publisher.http + "/v1/events"
	writing, silence := context.WithCancel(ctx)
	defer silence()
	var writers sync.WaitGroup
	r.times.Began = time.Now()
	for _, w := range []*writer{
		{name: "door-1", send: throughDoor(door, r.random("bad of door-1"))},
		{name: "door-2", send: throughDoor(door, r.random("bad of door-2"))},
		{name: "library", send: throughLibrary(library)},
	} {
		w.seed, w.rng, w.ledger = r.o.Seed, r.random(w.name), r.sent
		writers.Go(func() { w.run(writing) })
	}
	writers.Go(func() { r.poison(writing, conn) })
	rest(ctx, r.o.Quiet)
	r.weather(ctx)
	rest(ctx, r.o.Calm)
	silence()
	writers.Wait()
	r.times.Silence = time.Now()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), startLimit)
	defer cancel()
	return library.Close(closing)
}

// weather makes the faults, and waits until work flows again.
func (r *run) weather(ctx context.Context) {
	storming, still := context.WithTimeout(ctx, r.o.Storm)
	defer still()
	r.times.Storm = time.Now()
	var storms sync.WaitGroup
	for _, name := range r.o.Faults {
		f := faultNamed(name)
		storms.Go(func() { r.storm(storming, f, r.random(name)) })
	}
	<-storming.Done()
	storms.Wait()
	r.times.Healed = time.Now()
	if err := r.cluster.ready(ctx); err != nil {
		r.times.Fault = err.Error()
		return
	}
	r.times.Ready = time.Now()
}

// watch notes what the programs use, and those that end by themselves.
func (r *run) watch(ctx context.Context) {
	dead := map[*process]int{} // life that was noted
	beats := 0
	beat := time.NewTicker(500 * time.Millisecond)
	defer beat.Stop()
	for {
		for _, p := range r.cluster.all() {
			if how, ok := p.unmeant(); ok && dead[p] != p.count() && p.held.TryLock() {
				dead[p] = p.count()
				entry := Ended{Program: p.name, At: time.Now(), Error: how, Last: lastOf(p.log.Name())}
				if noBroker.MatchString(entry.Last) {
					entry.Restarted = p.start("") == nil
				}
				p.held.Unlock()
				r.ended.add(entry)
			}
			if u, ok := p.used(); ok {
				if beats%4 == 0 {
					u.Goroutines = goroutines(ctx, p)
				}
				r.used.add(u)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			beats++
		}
	}
}

// noBroker is the last that a program says which cannot reach the broker when it
// starts.
var noBroker = regexp.MustCompile(`\w+: connect to nats://.*\n$`)

// goroutines is how many a daemon says that it has; 0: it does not say.
func goroutines(ctx context.Context, p *process) int {
	if p.http == "" {
		return 0
	}
	text, err := get(ctx, p, "/metrics")
	if err != nil {
		return 0
	}
	return int(readMetrics(text).sum("go_goroutines"))
}

// lastOf is the end of a file.
func lastOf(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// get reads a page of a program.
func get(ctx context.Context, p *process, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// rest keeps what each daemon shows of itself, and stops them all in order: what
// is there now is all that there will be.
func (r *run) rest(ctx context.Context) error {
	var faults []error
	for _, p := range r.cluster.daemons() {
		text, err := get(ctx, p, "/metrics")
		if err != nil {
			text = "# " + err.Error() + "\n"
		}
		faults = append(faults, os.WriteFile(filepath.Join(r.dir, dirMetrics, p.name), []byte(text), 0o600))
	}
	for _, p := range r.cluster.daemons() {
		if err := p.stop(); err != nil {
			r.ended.add(Ended{Program: p.name, At: time.Now(), Error: err.Error(), Last: lastOf(p.log.Name())})
		}
	}
	if err := r.cluster.once(ctx, "archive", "flush"); err != nil {
		r.times.Fault, r.times.Drained = err.Error(), time.Time{}
	}
	return errors.Join(faults...)
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
