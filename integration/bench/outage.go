package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// outageResult is how long it takes until work flows as before, once a broker is
// back that was away. Meanwhile events come in as always, through the door of a
// publisher that keeps them in its spool.
type outageResult struct {
	Length time.Duration `json:"length"`
	Paused recoveries    `json:"paused"` // SIGSTOP, and SIGCONT
	Killed recoveries    `json:"killed"` // SIGKILL, and a start: the server reads its files first
	count
}

// recoveries are times from one moment on.
type recoveries struct {
	Stored  latencies `json:"stored"`  // until events are stored again, by the broker's timestamp
	Decided latencies `json:"decided"` // until a tick is decided that ended after the moment
	Caught  latencies `json:"caught"`  // until nothing is more than usual behind
}

// usual is how far reducing and deciding may be behind: a tick, the lateness, and a
// second for everything else.
const usual = 3 * time.Second

// outageEvents is the traffic all the time, events a second.
const outageEvents = 2000

func measureOutage(ctx context.Context, c config) (_ *outageResult, err error) {
	c.Rate = outageEvents
	s, err := startSteady(ctx, c, "outage")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := &outageResult{Length: c.Outage}
	for range c.Outages {
		for _, way := range []struct {
			begin, end func() error
			into       *recoveries
		}{
			{s.signal(0, syscall.SIGSTOP), s.signal(0, syscall.SIGCONT), &r.Paused},
			{func() error { s.brokers[0].Kill(); return nil }, func() error { return s.startServer(0) }, &r.Killed},
		} {
			if err := s.calm(ctx); err != nil {
				return nil, err
			}
			before, err := s.ends(ctx)
			if err != nil {
				return nil, err
			}
			if err := way.begin(); err != nil {
				return nil, err
			}
			if err := s.pass(ctx, c.Outage); err != nil {
				return nil, err
			}
			back := time.Now()
			if err := way.end(); err != nil {
				return nil, err
			}
			stored, err := s.recover(ctx, back, before, way.into)
			if err != nil {
				return nil, err
			}
			way.into.Stored = append(way.into.Stored, slices.Min(stored))
		}
	}
	r.Paused.sort()
	r.Killed.sort()
	r.count, err = s.end(ctx)
	return r, err
}

// steady is a deployment under steady traffic through the door of a publisher.
type steady struct {
	*deployment
	load                *load
	processor, archiver *process
	conn                *pipeline.Conn
	log                 *pipeline.Log
	past                []accepted
}

// accepted is how many events the door had taken at a moment.
type accepted struct {
	at     time.Time
	events int64
}

func startSteady(ctx context.Context, c config, name string) (_ *steady, err error) {
	c.For = 24 * time.Hour
	s := new(steady)
	if s.deployment, err = deploy(ctx, c, name); err != nil {
		return nil, err
	}
	if err := s.startAll(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *steady) startAll(ctx context.Context) (err error) {
	if s.processor, err = s.start(ctx, "processor"); err != nil {
		return err
	}
	if s.archiver, err = s.start(ctx, "archiver"); err != nil {
		return err
	}
	door, err := s.start(ctx, "publisher")
	if err != nil {
		return err
	}
	if s.conn, err = pipeline.Connect(ctx, pipeline.Config{URL: s.url, Name: "bench"}); err != nil {
		return err
	}
	s.log = s.conn.Log()
	s.load, err = s.drive(ctx, "--door", door.http)
	return err
}

func (s *steady) close() error {
	if s.load != nil {
		s.load.kill()
	}
	if s.conn != nil {
		s.log.Close()
		s.conn.Close()
	}
	return s.deployment.close()
}

// end ends the traffic in order, and counts what became of every event.
func (s *steady) end(ctx context.Context) (n count, err error) {
	p, err := s.load.stop(ctx)
	if err != nil {
		return n, err
	}
	n.Published = p.Events
	if n.Reduced, err = s.settle(ctx, s.processor, n.Published); err != nil {
		return n, err
	}
	for _, p := range []*process{s.archiver, s.processor} {
		if err := p.stop(ctx); err != nil {
			return n, err
		}
	}
	n.Archived, _, err = s.archived(ctx)
	return n, err
}

func (s *steady) signal(server int, sig syscall.Signal) func() error {
	return func() error { return s.brokers[server].Signal(sig) }
}

// note keeps how many events are accepted.
func (s *steady) note() error {
	select {
	case <-s.load.ended:
		return fmt.Errorf("the traffic ended: %w\n%s", s.load.err, s.load.said.String())
	default:
	}
	s.past = append(s.past, accepted{time.Now(), s.load.now().Events})
	for len(s.past) > 1 && time.Since(s.past[1].at) >= usual {
		s.past = s.past[1:]
	}
	return nil
}

// pass lets time pass.
func (s *steady) pass(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return until(ctx, "time passes", func() (bool, error) { return !time.Now().Before(end), s.note() })
}

// ends are the last sequences of the streams of events.
func (s *steady) ends(ctx context.Context) (map[schemas.Partition]uint64, error) {
	last := map[schemas.Partition]uint64{}
	for _, p := range partitions() {
		info, err := s.log.Info(ctx, p.Stream())
		if err != nil {
			return nil, err
		}
		last[p] = info.Last
	}
	return last, nil
}

// decided is the end of the last tick that is decided of the traffic's class, and
// behind whether reducing or deciding is more behind than usual, or has not begun:
// the first tick of a deployment ends some seconds after it was made.
func (s *steady) decided() (tick time.Time, behind bool, err error) {
	if err := s.note(); err != nil {
		return tick, false, err
	}
	telemetry, err := s.processor.metrics(func(labels string) bool { return labels == `class="telemetry"}` })
	if err != nil {
		return tick, false, err
	}
	done, err := reduced(s.processor)
	tick = time.Unix(int64(telemetry["millrace_decided_seconds"]), 0)
	old, late := s.past[0], time.Since(tick)
	return tick, time.Since(old.at) < usual || done < old.events || late < 0 || late > usual, err
}

// calm waits until nothing is more than usual behind.
func (s *steady) calm(ctx context.Context) error {
	return until(ctx, "nothing is behind", func() (bool, error) {
		_, behind, err := s.decided()
		return !behind, err
	})
}

// recover waits until work flows as before, and returns how long after a moment
// each stream of events that had any got the first of them.
func (s *steady) recover(ctx context.Context, from time.Time, before map[schemas.Partition]uint64, into *recoveries) ([]time.Duration, error) {
	decides := time.Duration(0)
	err := until(ctx, "work flows as before", func() (bool, error) {
		tick, behind, err := s.decided()
		if decides == 0 && tick.After(from) {
			decides = time.Since(from)
		}
		return decides > 0 && !behind, err
	})
	if err != nil {
		return nil, err
	}
	into.Decided, into.Caught = append(into.Decided, decides), append(into.Caught, time.Since(from))
	var stored []time.Duration
	for p, last := range before {
		for found := false; !found; {
			entries, err := s.log.Read(ctx, p.Stream(), last+1, 64)
			if err != nil {
				return nil, err
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				last = e.Seq
				if at := time.Unix(0, e.Time); !found && e.Header[schemas.HeaderCounter] != "" && at.After(from) {
					stored, found = append(stored, at.Sub(from)), true
				}
			}
		}
	}
	if stored == nil {
		return nil, errors.New("no event was stored")
	}
	return stored, nil
}

func (r *recoveries) sort() {
	for _, l := range []latencies{r.Stored, r.Decided, r.Caught} {
		slices.Sort(l)
	}
}

// rows of a table.
func (r *recoveries) rows(what string) []string {
	return []string{
		r.Stored.row(what + "events are stored"),
		r.Decided.row(what + "a later tick is decided"),
		r.Caught.row(what + "nothing is behind"),
	}
}

func (r *outageResult) print(out io.Writer) error {
	return table(out, "the broker was, until\tn\tp50\tp99\tmost", append(r.Paused.rows("paused: "), r.Killed.rows("killed: ")...)...)
}
