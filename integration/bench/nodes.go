package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dermai/millrace/schemas"
)

// nodesResult is how long it takes until work flows as before when one of three
// servers is lost, under the traffic of an outage.
type nodesResult struct {
	Killed losses `json:"killed"` // SIGKILL: its connections break
	Paused losses `json:"paused"` // SIGSTOP: they stand, as when its machine loses its power
	count
}

// losses of a server.
type losses struct {
	recoveries
	// Elected is until all streams that a decision rests on have leaders again, and
	// After how much later a later tick is decided: the first is the servers' part.
	Elected latencies `json:"elected"`
	After   latencies `json:"after"`
	Led     []int     `json:"led"` // streams that the server led
}

func measureNodes(ctx context.Context, c config) (_ *nodesResult, err error) {
	c.Rate, c.Servers = outageEvents, 3
	s, err := startSteady(ctx, c, "nodes")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	elections, err := s.elections()
	if err != nil {
		return nil, err
	}
	r := new(nodesResult)
	for i := range 2 * c.Nodes {
		victim := i % c.Servers
		way, into := "killed", &r.Killed
		if i%2 == 1 {
			way, into = "paused", &r.Paused
		}
		if err := s.lose(ctx, victim, way, elections, into); err != nil {
			return nil, fmt.Errorf("%s is %s: %w", serverName(victim), way, err)
		}
	}
	r.Killed.sort()
	r.Paused.sort()
	r.count, err = s.end(ctx)
	return r, err
}

// lose takes a server away until work flows as before.
func (s *steady) lose(ctx context.Context, victim int, way string, elections *elections, into *losses) error {
	leaders, err := s.inStep(ctx)
	if err != nil {
		return err
	}
	if err := s.calm(ctx); err != nil {
		return err
	}
	before, err := s.ends(ctx)
	if err != nil {
		return err
	}
	lost, back := time.Now(), s.signal(victim, syscall.SIGCONT)
	if way == "killed" {
		s.brokers[victim].Kill()
		back = func() error { return s.startServer(victim) }
	} else if err := s.signal(victim, syscall.SIGSTOP)(); err != nil {
		return err
	}
	stored, err := s.recover(ctx, lost, before, &into.recoveries)
	if err != nil {
		return err
	}
	led, elected := 0, time.Duration(0)
	for stream, leader := range leaders {
		if leader != serverName(victim) {
			continue
		}
		led++
		if restsOn(stream) {
			elected = max(elected, elections.since(lost, stream))
		}
	}
	into.Stored, into.Led = append(into.Stored, slices.Max(stored)), append(into.Led, led)
	into.Elected = append(into.Elected, elected)
	into.After = append(into.After, max(0, into.Decided[len(into.Decided)-1]-elected))
	return back()
}

// restsOn tells that the decision of a tick needs the stream.
func restsOn(stream string) bool {
	return slices.Contains([]string{schemas.StreamControl, schemas.StreamPartials, schemas.StreamAlerts}, stream) ||
		strings.HasPrefix(stream, "EVENTS_")
}

// elections are the moments at which streams got leaders, as the servers say.
type elections struct {
	mu sync.Mutex
	at map[string]time.Time // the last of each stream
}

// elections listens until the connection is closed.
func (d *deployment) elections() (*elections, error) {
	const advisory = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."
	e := &elections{at: map[string]time.Time{}}
	_, err := d.conn.Subscribe(advisory+"*", func(m *nats.Msg) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.at[strings.TrimPrefix(m.Subject, advisory)] = time.Now()
	})
	return e, err
}

// since is how long after a moment a stream last got a leader; 0: it was not heard of.
func (e *elections) since(from time.Time, stream string) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(0, e.at[stream].Sub(from))
}

func (l *losses) sort() {
	l.recoveries.sort()
	slices.Sort(l.Elected)
	slices.Sort(l.After)
}

func (l *losses) rows(what string) []string {
	return append(l.recoveries.rows(what),
		l.Elected.row(what+"leaders are elected"),
		l.After.row(what+"from then on, a later tick is decided"))
}

func (r *nodesResult) print(out io.Writer) error {
	fmt.Fprintf(out, "Streams that the lost server led: killed %v, paused %v\n\n", r.Killed.Led, r.Paused.Led)
	return table(out, "the server was, until\tn\tp50\tp99\tmost", append(r.Killed.rows("killed: "), r.Paused.rows("paused: ")...)...)
}
