package pipeline

import (
	"fmt"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
)

// openSpool opens the spool, if there is to be one, and sends what is in it.
func (p *Publisher) openSpool() error {
	if p.config.Spool.Dir == "" {
		return nil
	}
	s, err := spool.Open(p.config.Spool)
	if err != nil {
		return err
	}
	p.spool = s
	p.spoolStats()
	for _, lane := range s.Lanes() {
		p.drain(lane, nil)
	}
	return nil
}

// closeSpool comes when nobody uses the spool any more.
func (p *Publisher) closeSpool() error {
	if p.spool == nil {
		return nil
	}
	p.spoolStats()
	if left := p.spool.Stats(); left.Events > 0 {
		p.conn.log.Warn().Int64("events", left.Events).Msg("events stay in the spool; the next publisher with it sends them")
	}
	if err := p.spool.Close(); err != nil {
		return fmt.Errorf("close the spool: %w", err)
	}
	return nil
}

// spoolStats shows what the spool holds, and logs damage that was found since the
// last time.
func (p *Publisher) spoolStats() {
	st := p.spool.Stats()
	p.conn.metrics.spoolBytes.Set(float64(st.Bytes))
	p.conn.metrics.spoolEvents.Set(float64(st.Events))
	p.mu.Lock()
	fresh := st.Damaged - p.damaged
	p.damaged = st.Damaged
	p.mu.Unlock()
	if fresh <= 0 {
		return
	}
	p.conn.metrics.spoolDamaged.Add(float64(fresh))
	damage := p.spool.Damage()
	for _, d := range damage[st.Damaged-fresh : st.Damaged] {
		p.conn.log.Error().Stringer("what", d).Msg("damage in the spool was skipped")
	}
}

// counted counts a frame that came out of the spool as stored.
func (p *Publisher) counted(lane string, h schemas.FrameHeader) {
	kind := "unknown"
	if s, err := schemas.ParseSubject(lane); err == nil {
		kind = string(s.Kind)
	}
	p.conn.metrics.frames.WithLabelValues(kind).Inc()
	p.conn.metrics.events.WithLabelValues(kind).Add(float64(h.Events))
}
