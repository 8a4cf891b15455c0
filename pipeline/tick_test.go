package pipeline_test

import (
	"errors"
	"testing"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
)

// Tick frames get into partitions. Where nobody takes one, a connection says so, and a
// log, which does not wait, has lost it.
func TestTick(t *testing.T) {
	s, c := deployed(t)
	l := newLog(t, c)
	for _, p := range []schemas.Partition{1, schemas.Audit} {
		if err := errors.Join(c.StoreTick(t.Context(), p), l.Tick(t.Context(), p)); err != nil {
			t.Fatal(err)
		}
		pipelinetest.Within(t, "both are stored", func() bool {
			info, err := l.Info(t.Context(), p.Stream())
			return err == nil && info.Last == 2
		})
		fs := frames(t, l, p)
		if len(fs) != 2 || !fs[0].Tick || !fs[1].Tick || len(fs[0].Events) > 0 {
			t.Errorf("partition %s holds %+v, want two ticks", p, fs)
		}
	}
	if err := c.StoreTick(t.Context(), 7); !errors.Is(err, fence.ErrUnknown) {
		t.Errorf("tick of a partition without a stream: %v", err)
	}
	if err := l.Tick(t.Context(), 7); err != nil {
		t.Errorf("a tick that is lost: %v", err)
	}
	s.Stop()
	pipelinetest.Within(t, "the loss is seen", func() bool { return !c.Connected() })
	if err := l.Tick(t.Context(), 1); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("a tick without a connection: %v", err)
	}
}
