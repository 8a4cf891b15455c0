package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dermai/millrace/schemas"
)

// onServers is for faults that need several servers.
func onServers(o Options) error {
	if o.Servers < 2 {
		return errors.New("it needs -servers 3")
	}
	return possibleNetwork()
}

func onDisks(Options) error { return possibleDisks() }

// makeScale lets fewer processors do the work for a while, one at least.
func makeScale(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	all := r.cluster.processors
	var away []*process
	for range 1 + rng.Intn(len(all)) {
		if p := hold(rng, all); p != nil {
			defer p.held.Unlock()
			away = append(away, p)
		}
	}
	if len(away) == len(all) {
		away = away[1:]
	}
	if len(away) == 0 {
		return Fired{}, errBusy
	}
	made := Fired{Target: "processors", Detail: fmt.Sprintf("%d, %d, %d", len(all), len(all)-len(away), len(all))}
	var faults []error
	for _, p := range away {
		faults = append(faults, p.stop())
	}
	rest(ctx, between(rng, time.Second, 5*time.Second))
	for _, p := range away {
		faults = append(faults, p.start(""))
	}
	return made, errors.Join(faults...)
}

// sizes are numbers of processors, one after the other; five, where a run has fewer,
// are all that it has.
var sizes = []int{1, 4, 2, 5, 1}

// makeResize goes through the sizes. Processors that other faults hold are none of
// its own.
func makeResize(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	var own, away []*process // of own, the last ones are away
	for p := hold(rng, r.cluster.processors); p != nil; p = hold(rng, r.cluster.processors) {
		defer p.held.Unlock()
		own = append(own, p)
	}
	if len(own) < 2 {
		return Fired{}, errBusy
	}
	made := Fired{Target: "processors"}
	var faults []error
	for _, size := range append(sizes, len(own)) {
		there := len(own) - len(away)
		for ; there > size; there-- {
			p, end := own[there-1], (*process).stop
			if rng.Intn(2) == 0 {
				end = (*process).kill
			}
			faults, away = append(faults, end(p)), append(away, p)
		}
		for ; there < min(size, len(own)); there++ {
			faults, away = append(faults, own[there].start("")), away[:len(away)-1]
		}
		made.Detail += fmt.Sprintf("%d ", there)
		rest(ctx, between(rng, 500*time.Millisecond, 3*time.Second))
	}
	return made, errors.Join(faults...)
}

// makeOpen opens a partition, up to six in all.
func makeOpen(ctx context.Context, r *run, _ *rand.Rand) (Fired, error) {
	c := r.cluster
	if c.partitions < 6 {
		c.partitions++
	}
	made := Fired{Target: "partitions", Detail: fmt.Sprint(c.partitions)}
	if err := c.configure(); err != nil {
		return made, err
	}
	return made, c.apply(context.WithoutCancel(ctx))
}

// diskOfData holds the spool, and the archive where it is files; others are servers'.
const diskOfData = "data"

// makeFull fills a disk. A server that could not write is started anew when there
// is room again, as its operator would.
func makeFull(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	dirs := []string{filepath.Join(r.dir, diskOfData)}
	for _, s := range r.cluster.servers {
		dirs = append(dirs, filepath.Join(r.dir, "nats", s.name))
	}
	i := rng.Intn(len(dirs))
	made := Fired{Target: filepath.Base(dirs[i])}
	if i > 0 {
		s := r.cluster.servers[i-1]
		if !s.held.TryLock() {
			return made, errBusy
		}
		defer s.held.Unlock()
	}
	free, err := fill(dirs[i])
	if err != nil {
		return made, err
	}
	rest(ctx, between(rng, 2*time.Second, 5*time.Second))
	if err := free(); err != nil || i == 0 {
		return made, err
	}
	s := r.cluster.servers[i-1]
	return made, errors.Join(s.stop(), s.start(""))
}

// makeLeader asks the leader of a stream to give way to another.
func makeLeader(_ context.Context, r *run, rng *rand.Rand) (Fired, error) {
	list := []string{"EVENTS_0", "EVENTS_1", "AUDIT", schemas.StreamPartials, schemas.StreamAlerts, schemas.StreamControl, schemas.StreamNotify, schemas.StreamDeliveries}
	made := Fired{Target: list[rng.Intn(len(list))]}
	conn, err := nats.Connect(r.cluster.url())
	if err != nil {
		return made, errBusy // no server answers just now
	}
	defer conn.Close()
	answer, err := conn.Request("$JS.API.STREAM.LEADER.STEPDOWN."+made.Target, nil, 5*time.Second)
	if err != nil {
		return made, errBusy // nor has the stream a leader
	}
	made.Detail = string(answer.Data)
	return made, nil
}

// makePartition takes the network away from a server, or its way to another.
func makePartition(ctx context.Context, r *run, rng *rand.Rand) (made Fired, err error) {
	c := r.cluster
	order := rng.Perm(len(c.servers))
	s, other := c.servers[order[0]], c.servers[order[1]]
	if !s.held.TryLock() {
		return made, errBusy
	}
	defer s.held.Unlock()
	made = Fired{Target: s.name, Detail: "no network"}
	begin := func() error { return c.network.part(s.node) }
	end := func() error { return c.network.join(s.node) }
	if rng.Intn(3) == 0 {
		made.Detail = "no way to " + other.name
		begin = func() error { return c.network.blackhole(s.node, other.host) }
		end = func() error { return c.network.unblackhole(s.node, other.host) }
	}
	if err := begin(); err != nil {
		return made, err
	}
	rest(ctx, between(rng, 3*time.Second, 9*time.Second))
	return made, end()
}
