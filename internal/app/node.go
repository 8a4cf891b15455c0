package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/dermai/millrace/archive/compact"
	"github.com/dermai/millrace/archive/retain"
	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/internal/archiver"
	"github.com/dermai/millrace/internal/processor"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
)

// node is a process that serves: what its parts share.
type node struct {
	*session
	name     string
	registry *prometheus.Registry
	health   *ops.Health
	mux      *http.ServeMux
	conn     *pipeline.Conn
	embedded bool // the broker runs in this process
}

// newNode prepares a process that serves health and metrics.
func (s *session) newNode(name string) *node {
	n := &node{session: s, name: name, registry: ops.NewRegistry(), health: &ops.Health{}, mux: http.NewServeMux()}
	ops.Routes(n.mux, n.health, n.registry)
	return n
}

// inProcess is a broker in this process.
type inProcess interface {
	InProcessConn() (net.Conn, error)
}

// connect connects to the broker that the configuration names, or to the one in
// this process. The caller closes n.conn.
func (n *node) connect(ctx context.Context, server inProcess) error {
	conn, err := n.session.connect(ctx, n.name, server, n.registry)
	if err != nil {
		return err
	}
	n.conn = conn
	if n.later { // it works without the broker
		return nil
	}
	n.health.Register("broker", func() ops.State {
		if conn.Connected() {
			return ops.State{Progress: time.Now()}
		}
		return ops.State{Reason: "not connected to the broker"}
	})
	return nil
}

// connect connects to the broker that the configuration names, to the one in this
// process, or else to the one that millrace up runs on this machine.
func (s *session) connect(ctx context.Context, name string, server inProcess, registry prometheus.Registerer) (*pipeline.Conn, error) {
	c := s.config
	return pipeline.Connect(ctx, pipeline.Config{
		URL:         cmp.Or(c.NATS.URL.Reveal(), "nats://"+c.NATS.Listen),
		InProcess:   server,
		Name:        name,
		Creds:       string(c.NATS.Credentials),
		CA:          string(c.NATS.CA),
		Certificate: string(c.NATS.Certificate),
		Key:         string(c.NATS.Key),
		Inbox:       c.NATS.Inbox,
		Later:       s.later,
		Logger:      s.log,
		Registerer:  registry,
	})
}

// layout is what the configuration makes of the broker.
func (s *session) layout() pipeline.Layout {
	c := s.config
	l := pipeline.Layout{
		Partitions: c.Partitions,
		Replicas:   c.Replicas,
		Archived:   c.Archive.Enabled,
		Deployment: c.Deployment.Schema(),
	}
	for _, r := range c.Notify.Receivers {
		l.Receivers = append(l.Receivers, r.Name)
	}
	return l
}

// listen serves HTTP until ctx ends and then finishes what is under way.
func (n *node) listen(ctx context.Context, defaultAddr string) error {
	addr := n.config.HTTP.Addr
	if addr == "" {
		addr = defaultAddr
	}
	server, err := ops.Listen(ctx, addr, n.mux, n.log)
	if err != nil {
		return err
	}
	n.log.Info().Str("http", server.Addr()).Msg("serving")
	return server.Run(ctx)
}

// process runs the rules until ctx ends.
func (n *node) process(ctx context.Context) error {
	built, err := n.receivers()
	if err != nil {
		return err
	}
	events, err := n.sinks()
	if err != nil {
		return err
	}
	receivers := map[string]notify.Receiver{}
	for name, sink := range built {
		if reason, off := sink.Off(); off {
			n.log.Warn().Str("receiver", name).Str("reason", reason).Msg("the receiver is off")
			continue
		}
		receivers[name] = sink
	}
	return processor.Run(ctx, processor.Config{
		Conn:      n.conn,
		Notify:    n.config.Notify,
		Receivers: receivers,
		Sinks:     events,
		Health:    n.health,
		Registry:  n.registry,
		Metrics:   sinks.PrometheusConfig{Endpoints: n.config.Metrics.Endpoints, Names: n.config.Metrics.Names},
		Log:       n.log,
	})
}

// receivers builds the receivers of the configuration.
func (s *session) receivers() (map[string]sinks.Sink, error) {
	return sinks.Open(s.config.Notify, s.Receivers, s.sinkEnv())
}

// keep archives until ctx ends.
func (n *node) keep(ctx context.Context) error {
	store, err := n.openArchive(ctx)
	if err != nil {
		return err
	}
	var compacts *compact.Config
	if n.config.Archive.Compact.Enabled {
		c := n.compactConfig()
		compacts = &c
	}
	var retention map[schemas.Class]retain.Config
	if n.config.Archive.Retention.Enabled {
		retention = n.retention(n.conn, onHost(n.name))
	}
	return errors.Join(archiver.Run(ctx, archiver.Config{
		Compact:   compacts,
		Retention: retention,
		Verify:    n.config.Verify.Daily,
		Expect:    expected(n.config.Verify),
		Conn:      n.conn,
		Store:     store,
		CutBytes:  int64(n.config.Archive.CutBytes),
		CutAge:    n.config.Archive.CutAge,
		Health:    n.health,
		Registry:  n.registry,
		Log:       n.log,
	}), store.Close())
}

// runInTurn runs parts one behind the other: all start at once, and when ctx ends,
// or one of them fails, they end one after the other, the first first, so that
// what one still passes on is taken by the next.
func runInTurn(ctx context.Context, log zerolog.Logger, parts ...func(context.Context) error) error {
	all, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make([]chan struct{}, len(parts))
	var g errgroup.Group
	for i, part := range parts {
		done[i] = make(chan struct{})
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		go func() {
			<-all.Done()
			if i > 0 {
				<-done[i-1]
			}
			cancel()
		}()
		g.Go(func() error {
			defer close(done[i])
			defer cancel()
			err := part(own)
			if err != nil {
				log.Error().Err(err).Msg("ends")
				stop(err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	return nil
}
