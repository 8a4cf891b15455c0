package app

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// tailCommand prints stored events as they arrive.
type tailCommand struct {
	Since    moment `placeholder:"TIME" help:"Begin there: how long ago (15m), a day (2006-01-02) or a time (RFC 3339). Default: now, or with --no-follow the beginning."`
	NoFollow bool   `help:"End where the streams end now."`
	Kind     string `enum:"log,metric,audit," default:"" help:"Only events of this kind: log, metric or audit."`
	Service  string `placeholder:"NAME" help:"Only events of this service."`
	Where    string `placeholder:"EXPR" help:"Only events for which this holds, as where of a rule: level == \"ERROR\" and attributes.status_code >= 500"`
}

func (c *tailCommand) Run(ctx context.Context, s *session) error {
	where, err := parseWhere(c.Where)
	if err != nil {
		return err
	}
	conn, err := s.connect(ctx, "millrace tail", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	log := conn.Log()
	defer log.Close()
	t := &tail{tailCommand: c, session: s, log: log, where: where}
	if err := t.begin(ctx); err != nil {
		return err
	}
	for {
		printed, err := t.step(ctx)
		if ctx.Err() != nil {
			return nil // the user has seen enough
		}
		if err != nil || c.NoFollow && t.ended() {
			return err
		}
		if !printed {
			arrived(ctx, log)
		}
	}
}

// tail is a running tailCommand.
type tail struct {
	*tailCommand
	*session
	log     *pipeline.Log
	where   condition
	streams []tailed
}

// tailed is a stream and where it is read.
type tailed struct {
	partition schemas.Partition
	next      uint64
	end       uint64 // last sequence when the command began
}

// begin finds where to read.
func (t *tail) begin(ctx context.Context) error {
	partitions, err := openPartitions(ctx, t.log)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if t.Kind != "" && schemas.Kind(t.Kind).Class() != p.Class() {
			continue
		}
		info, err := t.log.Info(ctx, p.Stream())
		if err != nil {
			return err
		}
		at := tailed{p, info.Last + 1, info.Last}
		switch {
		case !t.Since.IsZero():
			at.next, err = sequenceAt(ctx, t.log, p.Stream(), t.Since.nanoseconds())
		case t.NoFollow:
			at.next = info.First
		}
		if err != nil {
			return err
		}
		t.streams = append(t.streams, at)
	}
	return nil
}

func (t *tail) ended() bool {
	return !slices.ContainsFunc(t.streams, func(s tailed) bool { return s.next <= s.end })
}

// step prints what is there of every stream, in the order of arrival as far as
// it was read. It tells whether there was anything.
func (t *tail) step(ctx context.Context) (bool, error) {
	var all []fence.Entry
	for i := range t.streams {
		s := &t.streams[i]
		if t.NoFollow && s.next > s.end {
			continue
		}
		entries, err := t.log.Read(ctx, s.partition.Stream(), s.next, readMax)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", s.partition.Stream(), err)
		}
		for _, e := range entries {
			s.next = e.Seq + 1
			if !t.NoFollow || e.Seq <= s.end {
				all = append(all, e)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b fence.Entry) int { return cmp.Compare(a.Time, b.Time) })
	for _, e := range all {
		if err := t.print(e); err != nil {
			return false, err
		}
	}
	return len(all) > 0, t.out.flush()
}

// print prints the events of a frame that are asked for. What cannot be read is
// for the quarantine, not for here.
func (t *tail) print(entry fence.Entry) error {
	subject, err := schemas.ParseSubject(entry.Subject)
	if err != nil || subject.Tick {
		return nil
	}
	body, err := schemas.Unpack(nil, entry.Data, schemas.FrameDecoded)
	if err != nil {
		return nil
	}
	for i, line := range schemas.Lines(body) {
		e, err := schemas.Decode(line, schemas.Origin{
			Kind: subject.Kind, Service: subject.Service,
			Arrival: entry.Time, Stream: schemas.StreamOf(entry.Subject), Seq: entry.Seq, Index: i,
		})
		if err != nil || !t.wanted(&e) {
			continue
		}
		if t.out.json {
			text, err := schemas.AppendJSON(nil, &e)
			if err != nil {
				return err
			}
			if err := t.out.line(text, false); err != nil {
				return err
			}
			continue
		}
		if err := t.out.print(nil, eventCells(&e)...); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) wanted(e *schemas.Event) bool {
	return (t.Kind == "" || e.Kind == schemas.Kind(t.Kind)) && (t.Service == "" || e.Service == t.Service) && t.where.holds(e)
}

// eventCells is an event as people read it.
func eventCells(e *schemas.Event) []any {
	cells := []any{clock(e.Time), e.Service}
	switch e.Kind {
	case schemas.KindMetric:
		cells = append(cells, "metric", fmt.Sprintf("%s = %s%s", e.Name, valueText(&e.Value), e.Unit))
	case schemas.KindAudit:
		outcome := ""
		if e.Success != nil && !*e.Success {
			outcome = " (failed)"
		}
		cells = append(cells, "audit", fmt.Sprintf("%s %s %s%s", e.User, e.Action, e.Resource, outcome))
	default:
		cells = append(cells, e.Level, e.Message)
		if e.Error != nil {
			cells = append(cells, strings.TrimPrefix(e.Error.Type+": "+e.Error.Message, ": "))
		}
	}
	for _, name := range sortedNames(e.Attributes) {
		switch v := e.Attributes[name].(type) {
		case map[string]any, []any: // too much for a line; -o json has it
		default:
			cells = append(cells, fmt.Sprintf("%s=%v", name, v))
		}
	}
	return cells
}
