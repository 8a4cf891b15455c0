package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/internal/app/config"
)

// queryRange chooses events of the archive by when they happened.
type queryRange struct {
	From   moment        `placeholder:"TIME" help:"Happened since then: how long ago (15m), a day (2006-01-02) or a time (RFC 3339). Default: the beginning."`
	To     moment        `placeholder:"TIME" help:"Happened before then. Default: now."`
	Late   time.Duration `default:"48h" help:"Look this long behind --to for events that arrived late."`
	Class  string        `enum:"telemetry,audit," default:"" help:"Only telemetry or audit. Default: both."`
	Stream string        `placeholder:"NAME" help:"Only this stream, such as EVENTS_0. Default: each."`
}

func (c *queryRange) options(expression string) (query.Options, error) {
	if c.Late <= 0 {
		return query.Options{}, fmt.Errorf("--late %s: want more than 0", c.Late)
	}
	if !c.To.IsZero() && !c.From.Before(c.To.Time) {
		return query.Options{}, fmt.Errorf("--from %s is not before --to %s", c.From.Format(time.RFC3339), c.To.Format(time.RFC3339))
	}
	where, err := parseWhere(expression)
	return query.Options{
		Where: where.Condition, From: c.From.nanoseconds(), To: c.To.nanoseconds(), Late: c.Late, Class: c.Class, Stream: c.Stream,
	}, err
}

// archiveQuery prints events, wherever they are. Findings: something could not be
// read, or the query was interrupted.
type archiveQuery struct {
	Where string `arg:"" optional:"" placeholder:"EXPR" help:"Events for which this holds, as where of a rule. Default: every event."`
	queryRange
	Limit int64 `placeholder:"N" help:"End after so many events. Default: no limit."`
	Live  bool  `default:"true" negatable:"" help:"Also what the streams hold that is not archived yet, if the broker answers (default)."`
}

// Help is what --help says behind the flags.
func (c *archiveQuery) Help() string {
	return `
Examples:
  millrace archive query 'level == "ERROR" and service == "api"' --from 36h
  millrace archive query 'trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"' -o json
  millrace archive query 'kind == "audit" and user == "ann"' --from 2026-01-01 --to 2026-02-01 -o csv > ann.csv
  millrace archive query 'attributes.duration_ms > 2000' --from 24h -o parquet > slow.parquet

Conditions on kind, service, level, user, resource, action and trace_id that are
joined by "and" decide what is read at all; the rest is asked of each event.`
}

// outputs are the forms of output besides text and json.
func (c *archiveQuery) outputs() []string { return []string{"csv", "parquet"} }

// errLimit ends a query that has printed what was asked for.
var errLimit = errors.New("limit")

func (c *archiveQuery) Run(ctx context.Context, s *session) error {
	o, err := c.options(c.Where)
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return fmt.Errorf("--limit %d: want 0 or more", c.Limit)
	}
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	out, err := s.newEventWriter()
	if err != nil {
		return err
	}
	live := "the streams were not asked"
	if c.Live {
		done, err := s.queryLive(ctx, &o)
		if err != nil && s.config.NATS.URL.Reveal() != "" {
			return err
		}
		if err == nil {
			defer done()
			live = ""
		} else {
			live = "no broker answers: what is not archived yet is not there"
		}
	}
	broken := 0
	o.Broken = func(err error) error {
		broken++
		fmt.Fprintf(s.Stderr, "%v\n", err)
		return nil
	}
	clear := s.showProgress(&o)
	stats, err := query.Run(ctx, store, o, func(e *query.Event) error {
		if err := out.write(e); err != nil {
			return err
		}
		if c.Limit > 0 {
			if c.Limit--; c.Limit == 0 {
				return errLimit
			}
		}
		return nil
	})
	clear()
	interrupted := ctx.Err() != nil
	if err != nil && !errors.Is(err, errLimit) && !interrupted {
		return err
	}
	if err := out.close(); err != nil {
		return err
	}
	s.printCost(&stats, live)
	switch {
	case interrupted:
		return findingsError("interrupted: these are not all events")
	case broken > 0:
		return findingsError(plural(broken, "segment") + " could not be read; millrace archive verify --full tells what is wrong")
	}
	return nil
}

// queryLive adds what the streams hold to a query.
func (s *session) queryLive(ctx context.Context, o *query.Options) (done func(), err error) {
	conn, err := s.connect(ctx, "millrace archive query", nil, nil)
	if err != nil {
		return nil, err
	}
	log := conn.Log()
	done = func() {
		log.Close()
		conn.Close()
	}
	partitions, err := openPartitions(ctx, log)
	if err != nil {
		done()
		return nil, err
	}
	o.Log = log
	for _, p := range partitions {
		o.Streams = append(o.Streams, p.Stream())
	}
	return done, nil
}

// showProgress says on a terminal how far a query is. clear removes that.
func (s *session) showProgress(o *query.Options) (clear func()) {
	if !config.IsTerminal(s.Stderr) {
		return func() {}
	}
	const width = 30
	var said time.Time
	o.Progress = func(p query.Stats) {
		if time.Since(said) < 200*time.Millisecond {
			return
		}
		said = time.Now()
		share := float64(p.Passed) / float64(max(p.Total, 1))
		bar := fmt.Sprintf("%-*s", width, "##############################"[:min(width, int(share*width))])
		fmt.Fprintf(s.Stderr, "\r[%s] %3.0f %%, %d events\x1b[K", bar, 100*share, p.Events)
	}
	return func() { fmt.Fprint(s.Stderr, "\r\x1b[K") }
}

// printCost says what a query read of what there is.
func (s *session) printCost(q *query.Stats, live string) {
	out := s.Stderr
	fmt.Fprintf(out, "%s; read %d of %s", plural(int(q.Events), "event"), q.ObjectsRead, plural(int(q.Objects), "object"))
	if q.Segments > 0 {
		fmt.Fprintf(out, ", %d of %s (%d of %d row groups, %d of %d pages, %s of %s)", q.SegmentsRead, plural(int(q.Segments), "segment"),
			q.GroupsRead, q.Groups, q.PagesRead, q.Pages, megabytes(q.Cost.BytesRead), megabytes(q.Cost.Bytes))
	}
	if live == "" {
		live = plural(int(q.Messages), "message") + " of streams"
	}
	fmt.Fprintf(out, "; %s\n", live)
	if q.Faulty > 0 {
		fmt.Fprintf(out, "passed over what is no event: %s; millrace quarantine ls tells why\n", plural(int(q.Faulty), "line"))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
