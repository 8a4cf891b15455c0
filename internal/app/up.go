package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/dermai/millrace/spool"
)

// The addresses of the programs unless told otherwise.
const (
	publisherAddr = "127.0.0.1:8480"
	processorAddr = "127.0.0.1:8481"
	archiverAddr  = "127.0.0.1:8482"
)

// upCommand runs everything in one process.
type upCommand struct {
	Demo bool  `help:"Add three services with an incident, and rules with windows short enough to watch."`
	Seed int64 `help:"Of the demo: decides the kind and the time of the incident. Default: the clock."`
}

func (c *upCommand) Run(ctx context.Context, s *session) error {
	if len(s.config.Notify.Receivers) == 0 {
		s.useOutbox()
	}
	if c.Demo {
		s.useDemo()
	}
	n := s.newNode("millrace")
	if s.config.NATS.URL.IsZero() {
		server, err := broker.Start(broker.Config{
			Dir:    filepath.Join(string(s.config.Data), "nats"),
			Listen: s.config.NATS.Listen,
			Logger: s.log,
		})
		if err != nil {
			return err
		}
		defer server.Shutdown()
		s.log.Info().Str("nats", server.URL()).Msg("the broker runs in this process")
		n.embedded = true
		if err := n.connect(ctx, server); err != nil {
			return err
		}
		defer n.conn.Close()
		if err := s.apply(ctx, n.conn, server.Sync, false, nil); err != nil {
			return err
		}
	} else {
		if err := n.connect(ctx, nil); err != nil {
			return err
		}
		defer n.conn.Close()
		if err := s.apply(ctx, n.conn, nil, false, nil); err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, n.health.Drain)()
	parts := []func(context.Context) error{n.publish, n.process}
	if s.config.Archive.Enabled {
		parts = append(parts, n.keep)
	}
	if c.Demo {
		demo := func(ctx context.Context) error { return n.demo(ctx, c.Seed) }
		parts = append([]func(context.Context) error{demo}, parts...)
	}
	return runInTurn(ctx, s.log, parts...)
}

// useOutbox lets a deployment without receivers write what they would get.
func (s *session) useOutbox() {
	s.config.Notify.Receivers = []notify.ReceiverConfig{{Name: "outbox", Type: "outbox"}}
	s.config.Notify.Route.Receiver = "outbox"
}

// useDemo takes rules and settings with which an incident is over in a minute.
func (s *session) useDemo() {
	s.config.Archive.CutAge = 15 * time.Second
	interval := 5 * time.Second
	s.config.Notify.Route.GroupInterval = &interval
	s.demo = true
}

// ruleSource reads the rule files of the configuration, or takes what is built
// in.
func (s *session) ruleSource() (schemas.RuleSource, error) {
	if len(s.config.Rules) == 0 && s.demo {
		return schemas.RuleSource{Files: []schemas.RuleFile{rules.Demo()}}, nil
	}
	files, err := s.ruleFiles(nil)
	return schemas.RuleSource{Files: files}, err
}

// apply makes the broker what the configuration says: streams, partitions,
// rules. report, which may be nil, gets what was, or with dryRun would be,
// changed.
func (s *session) apply(ctx context.Context, conn *pipeline.Conn, sync func() error, dryRun bool, report func(pipeline.Change) error) error {
	source, err := s.ruleSource()
	if err != nil {
		return err
	}
	set, err := rules.Parse(source.Files...) // before anything is changed
	if err != nil {
		return err
	}
	layout := s.layout()
	layout.Sync = sync
	begin := set.Source()
	begin.By = operator()
	layout.Rules = &begin
	changes, err := pipeline.Apply(ctx, conn, layout, dryRun)
	if report != nil {
		for _, c := range changes {
			if err := report(c); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	fresh := slices.ContainsFunc(changes, func(c pipeline.Change) bool {
		return c.Name == schemas.SubjectControl && c.Action == "genesis"
	})
	change, err := applyRules(ctx, conn, set, begin, dryRun, fresh)
	if err != nil {
		return fmt.Errorf("apply rules: %w", err)
	}
	if change != "" && report != nil {
		if err := report(pipeline.Change{Name: "rules", Action: "apply", Detail: change}); err != nil {
			return err
		}
	}
	if !dryRun {
		s.log.Info().Int("changes", len(changes)).Str("rules", change).Msg("applied")
	}
	return nil
}

// publish takes events in: from the door, and from the files that are followed.
func (n *node) publish(ctx context.Context) error {
	zone, err := time.LoadLocation(n.config.Publisher.Zone)
	if err != nil {
		return err
	}
	config := pipeline.PublisherConfig{Service: n.config.Publisher.Service, Partitions: n.config.Partitions}
	// A file is a spool of its own: it goes on where the broker's frames end, and
	// would publish again what waits in a spool.
	files, err := pipeline.NewPublisher(n.conn, config)
	if err != nil {
		return err
	}
	if n.config.Publisher.Spool.Enabled && !n.embedded {
		config.Spool = spool.Config{Dir: spoolDir(&n.config.Config), MaxBytes: int64(n.config.Publisher.Spool.MaxBytes)}
	}
	publisher, err := pipeline.NewPublisher(n.conn, config)
	if err != nil {
		return err
	}
	metrics := sources.NewMetrics(n.registry)
	defaults := sources.Defaults{Service: n.config.Publisher.Service, Zone: zone}
	headroom := newHeadroom(n.conn, n.config.Partitions)
	door := sources.DoorConfig{Defaults: defaults, Headroom: headroom.free, Metrics: metrics, Logger: n.log}
	if path := n.config.HTTP.Tokens; path != "" {
		if door.Tokens, err = sources.LoadTokens(string(path)); err != nil {
			return fmt.Errorf("http.tokens: %w", err)
		}
	}
	n.mux.Handle("/v1/events", sources.NewDoor(publisher, door))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.listen(ctx, publisherAddr) })
	g.Go(func() error { return headroom.run(ctx) })
	for _, f := range n.followed() {
		g.Go(func() error { return n.follow(ctx, f, files, defaults, metrics) })
	}
	err = g.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	return errors.Join(err, files.Close(last), publisher.Close(last))
}
