package processor

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/stages"
)

// Config is what a processor needs.
type Config struct {
	Conn      *pipeline.Conn
	Notify    notify.Config
	Receivers map[string]notify.Receiver // by name; those that are off are left out
	Sinks     []Sink                     // those that are off are left out
	Health    *ops.Health
	Registry  prometheus.Registerer
	Metrics   sinks.PrometheusConfig // of the metrics made from events
	Log       zerolog.Logger
}

// processor is a running Config.
type processor struct {
	Config
	control    *stages.Control
	rules      *rules.Cache
	changed    <-chan struct{} // something arrived in the control log
	quarantine *pipeline.Quarantine
	silences   *pipeline.Silences
	stages     *stages.Metrics
	notify     *notify.Metrics
	prometheus *sinks.Prometheus
	carried    map[string]notify.Receiver // Receivers behind the carrier
}

// Run runs a processor until ctx ends (nil, with the work in hand done) or a
// machine meets an incident (the error). The deployment must have been created
// (pipeline.Apply) before.
func Run(ctx context.Context, c Config) error {
	log := c.Conn.Log()
	defer log.Close()
	cache := new(rules.Cache)
	p := &processor{
		Config:     c,
		control:    stages.NewControl(log, time.Now, cache),
		rules:      cache,
		changed:    log.Changed(),
		quarantine: pipeline.NewQuarantine(c.Conn),
		silences:   pipeline.NewSilences(c.Conn),
		stages:     stages.NewMetrics(c.Registry),
		notify:     notify.NewMetrics(c.Registry),
		prometheus: sinks.NewPrometheus(c.Metrics, c.Registry),
		carried:    map[string]notify.Receiver{},
	}
	if err := p.read(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	carrier, err := notify.NewCarrier(p.notify, c.Log)
	if err != nil {
		return err
	}
	for name, receiver := range c.Receivers {
		p.carried[name] = carrier.Carry(name, receiver)
	}
	member := p.join(ctx)
	if member == nil {
		return nil
	}
	r := &roles{conn: c.Conn, member: member, health: c.Health, stages: p.stages, log: c.Log, changed: make(chan struct{})}
	roles, machines := errgroup.WithContext(ctx)
	roles.Go(func() error { return r.watch(machines) })
	roles.Go(func() error { return p.silences.Run(machines) })
	roles.Go(func() error { return r.run(machines, p.upkeep()) })
	roles.Go(func() error { return p.fill(machines, filled...) })
	for _, class := range schemas.Classes {
		roles.Go(func() error { return r.run(machines, p.evaluate(class)) })
	}
	for _, s := range c.Sinks {
		roles.Go(func() error { return p.feed(machines, s) })
	}
	for _, name := range slices.Sorted(maps.Keys(c.Receivers)) {
		roles.Go(func() error { return r.run(machines, p.plan(name)) })
		roles.Go(func() error { return r.run(machines, p.send(name)) })
	}
	roles.Go(func() error {
		// Partitions are opened while we run; none is ever closed.
		known := map[schemas.Partition]bool{}
		for machines.Err() == nil {
			for _, class := range schemas.Classes {
				for _, part := range p.control.Schedule().Partitions(class) {
					if !known[part] {
						known[part] = true
						roles.Go(func() error { return r.run(machines, p.reduce(part)) })
						roles.Go(func() error { return p.fill(machines, part.Stream()) })
					}
				}
			}
			if err := p.read(machines); err != nil {
				return err
			}
		}
		return nil
	})
	// The machines end first: who leaves has nothing more to append, or to send.
	carrying, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var carriers errgroup.Group
	if len(p.carried) > 0 {
		carriers.Go(func() error { return carrier.Run(carrying) })
	}
	err = roles.Wait()
	stop()
	err = errors.Join(err, carriers.Wait())
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	return errors.Join(err, member.Leave(last))
}

// join announces the process, however long the broker is away; nil: ctx ended.
func (p *processor) join(ctx context.Context) *pipeline.Member {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	id := rand.Text()
	for {
		member, err := pipeline.Join(ctx, p.Conn, pipeline.MemberConfig{ID: id})
		if err == nil {
			return member
		}
		p.Log.Warn().Err(err).Msg("join the processors")
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
		}
	}
}

// read reads the control log until there is a deployment and something new.
func (p *processor) read(ctx context.Context) error {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for ctx.Err() == nil {
		read, err := p.control.Read(ctx)
		switch _, begun := p.control.Schedule().First(); {
		case err == nil && read && begun:
			return nil
		case fence.IsIncident(err):
			return err
		case err != nil:
			p.Log.Warn().Err(err).Msg("read the control log")
		}
		select {
		case <-ctx.Done():
		case <-p.changed:
		case <-retry.C:
		}
	}
	return nil
}

func (p *processor) reduce(part schemas.Partition) role {
	return role{
		name: part.Partials(),
		make: func(log *pipeline.Log, _ func() bool) (stages.Machine, error) {
			return stages.NewReduce(stages.ReduceConfig{
				Partition: part, Log: log, Quarantine: p.quarantine,
				Clock: time.Now, Claims: rand.Text, Rules: p.rules, Metrics: p.stages,
				Tally: p.prometheus.Tally(),
			}), nil
		},
	}
}

// evaluate is a role on standby: it follows what another member decides.
func (p *processor) evaluate(class schemas.Class) role {
	return role{
		name:    class.Alerts(),
		standby: true,
		make: func(log *pipeline.Log, active func() bool) (stages.Machine, error) {
			return stages.NewEvaluate(stages.EvaluateConfig{
				Class: class, Log: log, Trimmer: log, Ticker: log, Clock: time.Now, Claims: rand.Text, Rules: p.rules,
				Active: active, Linger: p.Notify.LongestHold(), Awaited: p.awaited(), Metrics: p.stages,
				Board: p.prometheus.Board(class),
			}), nil
		},
	}
}

// awaited gives the times at which a silence or a mute time ends.
func (p *processor) awaited() func(after int64) (int64, bool) {
	wakes := p.Notify.Wakes()
	return func(after int64) (int64, bool) {
		_, silences := p.silences.Current()
		return wakes.After(silences, after)
	}
}

func (p *processor) plan(receiver string) role {
	return role{
		name: schemas.NotifySubject(receiver),
		make: func(log *pipeline.Log, _ func() bool) (stages.Machine, error) {
			return notify.NewPlan(notify.PlanConfig{
				Receiver: receiver, Config: p.Notify, Tick: p.control.Schedule().Timing().Tick,
				Log: log, Claims: rand.Text, Silences: p.silences.Current, Metrics: p.notify,
			})
		},
	}
}

func (p *processor) send(receiver string) role {
	return role{
		name: schemas.DeliveriesSubject(receiver),
		make: func(log *pipeline.Log, _ func() bool) (stages.Machine, error) {
			return notify.NewSend(notify.SendConfig{
				Name: receiver, Receiver: p.carried[receiver], Log: log, Claims: rand.Text,
				Quarantine: p.quarantine, PerMinute: p.Notify.PerMinute(receiver), Metrics: p.notify,
			})
		},
	}
}
