package app

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dermai/millrace/internal/app/ops"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
)

// stepLimit is how long a part may take to do its work before it is not ready.
const stepLimit = 15 * time.Second

// followed is a file that is read as it grows.
type followed struct {
	path string
	kind schemas.Kind // "": what the events say
}

// followed are the files that the configuration names.
func (s *session) followed() []followed {
	var list []followed
	for _, path := range s.config.Publisher.Follow {
		list = append(list, followed{path: string(path)})
	}
	if audit := s.config.Publisher.Audit; audit.Enabled && audit.Dir != "" {
		list = append(list, followed{filepath.Join(string(audit.Dir), "audit.log"), schemas.KindAudit})
	}
	return list
}

// follow publishes a file until ctx ends. What goes wrong is tried again: the
// file goes on where the stored frames end.
func (n *node) follow(ctx context.Context, f followed, p sources.Publisher, d sources.Defaults, m *sources.Metrics) error {
	d.Kind = f.kind
	flow := ops.NewFlow(stepLimit)
	flow.Done()
	n.health.Register("follow "+f.path, flow.State)
	file := sources.File{
		Inlet: sources.Inlet{
			Publisher: p, Defaults: d, Metrics: m,
			Refused: refusedLines(pipeline.NewQuarantine(n.conn), f.path),
		},
		Path:   f.path,
		Follow: true,
		Stored: n.conn.Stored,
	}
	var err error
	if file.Remember, err = n.remember(f.path); err != nil {
		return err
	}
	for {
		err := file.Run(ctx)
		if err == nil { // ctx ended
			return nil
		}
		flow.Block(fmt.Sprint(err))
		n.log.Error().Err(err).Str("file", f.path).Msg("follow")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
		flow.Done()
	}
}

// remember names the file that keeps the position in a followed file for longer
// than the streams do.
func (n *node) remember(path string) (string, error) {
	dir := filepath.Join(string(n.config.Data), "positions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("positions of followed files: %w", err)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(path)) // never fails
	return filepath.Join(dir, fmt.Sprintf("%016x", h.Sum64())), nil
}

// refusedLines puts lines that are no event into the quarantine.
func refusedLines(q *pipeline.Quarantine, path string) func(context.Context, []byte, int64, error) error {
	name := url.PathEscape(filepath.Base(path))
	return func(ctx context.Context, line []byte, offset int64, reason error) error {
		h := fnv.New64a()
		_, _ = h.Write(line) // never fails
		return q.Put(ctx, schemas.Quarantined{
			ID:     fmt.Sprintf("file/%s/%d/%016x", name, offset, h.Sum64()),
			Stage:  "publish",
			Reason: reason.Error(),
			Detail: fmt.Sprintf("%s, byte %d", name, offset),
			Index:  -1,
			Data:   line[:min(len(line), schemas.QuarantineBytes)],
			Size:   len(line),
		})
	}
}

// headroom knows how full the streams are that events go to.
type headroom struct {
	conn       *pipeline.Conn
	partitions int
	telemetry  atomic.Uint64 // parts per million that are free
	audit      atomic.Uint64
}

func newHeadroom(conn *pipeline.Conn, partitions int) *headroom {
	h := &headroom{conn: conn, partitions: partitions}
	h.telemetry.Store(1e6)
	h.audit.Store(1e6)
	return h
}

// free is the free share of the fullest stream that takes a kind.
func (h *headroom) free(kind schemas.Kind) float64 {
	if kind == schemas.KindAudit {
		return float64(h.audit.Load()) / 1e6
	}
	return float64(h.telemetry.Load()) / 1e6
}

// run looks every second until ctx ends.
func (h *headroom) run(ctx context.Context) error {
	for {
		least := 1.0
		var failed error
		for p := range h.partitions {
			used, err := h.conn.Headroom(ctx, schemas.Partition(p).Stream())
			failed = errors.Join(failed, err)
			least = min(least, 1-used)
		}
		used, err := h.conn.Headroom(ctx, schemas.StreamAudit)
		if failed == nil {
			h.telemetry.Store(uint64(max(least, 0) * 1e6))
		}
		if err == nil {
			h.audit.Store(uint64(max(1-used, 0) * 1e6))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
