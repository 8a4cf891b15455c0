package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"syscall"
	"time"
)

// fault is a kind of fault. make makes one of it and heals it, also when ctx ends
// meanwhile; what it was and when is returned. errBusy: there is no target free.
type fault struct {
	name     string
	says     string
	possible func(o Options) error
	make     func(ctx context.Context, r *run, rng *rand.Rand) (Fired, error)
}

var errBusy = errors.New("other faults hold every target")

// faults are all kinds. A run that is to be made again relies on the order.
var faults = []*fault{
	{"kill", "kill -9 of any process, and a start after up to 1.5 s", always, makeKill},
	{"die", "kill -9 of a process by itself, before or after a durable step", always, makeDie},
	{"pause", "SIGSTOP of a process for longer than every time-out", always, makePause},
	{"cut", "connections to the broker are reset, and none is made", always, onLinks(linkCut, time.Second, 4*time.Second)},
	{"stall", "connections to the broker stand, and nothing goes either way", always, onLinks(linkStall, pauseLeast, pauseLeast+3*time.Second)},
	{"slow", "connections to the broker pass 2 KiB every 15 ms", always, onLinks(linkSlow, 2*time.Second, 6*time.Second)},
	{"receiver", "a receiver answers 500 or 429, hangs, or takes it and gives no answer", always, makeReceiver},
	{"reload", "the rules are replaced", always, makeReload},
	{"rolling", "every program is stopped in order and started again, one by one", always, makeRolling},
	{"scale", "some processors are stopped in order, and are back after a while", always, makeScale},
	{"open", "a partition is opened", always, makeOpen},
	{"full", "the disk of the broker, or that of the spool and the archive, is full", onDisks, makeFull},
	{"leader", "the leader of a stream steps down", onServers, makeLeader},
	{"partition", "a server has no network, or no way to another one", onServers, makePartition},
	{"resize", "the processors are 1, 4, 2, 5 and 1; those that are too many are stopped or killed", always, makeResize},
	{"store", "the object store answers 503, hangs, takes it and gives no answer, or is killed or paused", onS3, makeStore},
}

func faultNamed(name string) *fault {
	for _, f := range faults {
		if f.name == name {
			return f
		}
	}
	return nil
}

func faultNames() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

func always(Options) error { return nil }

// between is a time that the run's seed chooses.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int63n(int64(most-least)))
}

// rest waits, or less if ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// storm makes faults of one kind until ctx ends, one at least.
func (r *run) storm(ctx context.Context, f *fault, rng *rand.Rand) {
	for made := 0; made == 0 || ctx.Err() == nil; {
		rest(ctx, between(rng, 200*time.Millisecond, 2*time.Second))
		if made > 0 && ctx.Err() != nil {
			return
		}
		began := time.Now()
		entry, err := f.make(ctx, r, rng)
		if errors.Is(err, errBusy) {
			continue
		}
		entry.Fault, entry.Began, entry.Ended = f.name, began, time.Now()
		if err != nil {
			entry.Error = err.Error()
		}
		r.faults.add(entry)
		made++
	}
}

// hold takes a process that no other fault has.
func hold(rng *rand.Rand, list []*process) *process {
	for _, i := range rng.Perm(len(list)) {
		if list[i].held.TryLock() {
			return list[i]
		}
	}
	return nil
}

func makeKill(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	p := hold(rng, r.cluster.all())
	if p == nil {
		return Fired{}, errBusy
	}
	defer p.held.Unlock()
	err := p.kill()
	rest(ctx, between(rng, 10*time.Millisecond, 1500*time.Millisecond))
	return Fired{Target: p.name}, errors.Join(err, p.start(""))
}

// places are where a program dies by itself, and on what.
var places = map[string][]string{
	"publisher": {"append EVENTS_0", "append EVENTS_1", "append AUDIT"},
	"processor": {"append PARTIALS", "append ALERTS", "append CHECKPOINTS", "append NOTIFY", "append DELIVERIES", "send team", "send hook"},
	"archiver":  {"put EVENTS_0", "put EVENTS_1", "put AUDIT", "put ALERTS", "put CONTROL"},
}

// dieLimit is how long a program may take to come by the place.
const dieLimit = 5 * time.Second

func makeDie(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	p := hold(rng, r.cluster.daemons())
	if p == nil {
		return Fired{}, errBusy
	}
	defer p.held.Unlock()
	list := places[binaryOf(p)]
	place := fmt.Sprintf("%s %s %d", list[rng.Intn(len(list))], []string{"before", "after"}[rng.Intn(2)], 1+rng.Intn(4))
	made := Fired{Target: p.name, Detail: place}
	if err := errors.Join(p.kill(), p.start(place)); err != nil {
		return made, err
	}
	limit := time.NewTimer(dieLimit)
	defer limit.Stop()
	select {
	case <-p.present().Ended():
	case <-limit.C:
		made.Detail += ": it did not come by and was killed where it was"
	}
	return made, errors.Join(p.kill(), p.start(""))
}

func makePause(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	p := hold(rng, r.cluster.all())
	if p == nil {
		return Fired{}, errBusy
	}
	defer p.held.Unlock()
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return Fired{}, errBusy // it could not reach the broker at its start and has ended
	}
	rest(ctx, between(rng, pauseLeast, pauseLeast+3*time.Second))
	return Fired{Target: p.name}, p.signal(syscall.SIGCONT)
}

// pauseLeast is longer than a request to the broker (5 s), than a member lives
// without a heartbeat (6 s), and than a receiver is waited for (3 s).
const pauseLeast = 7 * time.Second

// onLinks lets the links of one client behave badly, or now and then of all.
func onLinks(mode string, least, most time.Duration) func(context.Context, *run, *rand.Rand) (Fired, error) {
	return func(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
		clients := []string{"library"}
		for _, p := range r.cluster.daemons() {
			clients = append(clients, p.name)
		}
		made := Fired{Target: "all links"}
		if i := rng.Intn(len(clients) + 1); i < len(clients) {
			made.Target = clients[i]
		}
		list := r.cluster.holdLinks(made.Target)
		if list == nil {
			return Fired{}, errBusy
		}
		for _, k := range list {
			k.set(mode)
		}
		rest(ctx, between(rng, least, most))
		for _, k := range list {
			k.set(linkOpen)
			k.held.Unlock()
		}
		return made, nil
	}
}

func makeReceiver(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	name, mode := []string{"team", "hook"}[rng.Intn(2)], badReceivers[rng.Intn(len(badReceivers))]
	r.receivers.set(name, mode)
	rest(ctx, between(rng, time.Second, 5*time.Second))
	r.receivers.set(name, "")
	return Fired{Target: name, Detail: mode}, nil
}

// makeReload puts other rules in force: one threshold moves, so that one rule
// begins anew and the others keep their state.
func makeReload(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	share := 4 + rng.Intn(7)
	made := Fired{Target: "rules", Detail: fmt.Sprintf("HighErrorRate fires above %d %%", share)}
	if err := r.cluster.write("demo.yaml", demoRules(share)); err != nil {
		return made, err
	}
	return made, r.cluster.apply(context.WithoutCancel(ctx))
}

// makeRolling restarts every program of ours in order, as an upgrade does.
func makeRolling(ctx context.Context, r *run, rng *rand.Rand) (Fired, error) {
	var restarted []string
	var faults []error
	for _, p := range r.cluster.daemons() {
		if !p.held.TryLock() {
			continue
		}
		faults = append(faults, p.stop(), p.start(""))
		p.held.Unlock()
		restarted = append(restarted, p.name)
		rest(ctx, between(rng, 100*time.Millisecond, time.Second))
	}
	if restarted == nil {
		return Fired{}, errBusy
	}
	return Fired{Target: fmt.Sprint(restarted)}, errors.Join(faults...)
}
