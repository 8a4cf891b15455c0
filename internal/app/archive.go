package app

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/schemas"
)

// archiveCommand groups what is about the archive.
type archiveCommand struct {
	Ls        archiveLs        `cmd:"" help:"List the objects of the archive."`
	Cat       archiveCat       `cmd:"" help:"Print what was archived, in order: the events as JSON lines, or with -o json whole messages."`
	Query     archiveQuery     `cmd:"" help:"Print the events for which a condition holds, wherever they are."`
	Export    archiveExport    `cmd:"" help:"Copy events into files, one for each stream and day."`
	Flush     archiveFlush     `cmd:"" help:"Archive what the streams hold now, without waiting for its age."`
	Compact   archiveCompact   `cmd:"" help:"Turn the objects of events into segments, which are Parquet files."`
	Retain    archiveRetain    `cmd:"" help:"Delete what is past its retention and under no legal hold; archivers do it daily."`
	Replay    archiveReplay    `cmd:"" help:"Append what was archived to the stream REPLAY, with its times, ids and positions."`
	Restore   archiveRestore   `cmd:"" help:"Make a stream that was lost as it was: same sequences, times and bytes."`
	Lifecycle archiveLifecycle `cmd:"" help:"Print, or set, the lifecycle rules of the bucket of telemetry: its cold class."`
	Hold      holdCommand      `cmd:"" help:"Legal holds: what retention must not delete."`
	Verify    archiveVerify    `cmd:"" help:"Prove that the archive is complete and unaltered."`
}

// archiveFilter chooses from the archive.
type archiveFilter struct {
	Class  string `enum:"telemetry,audit,alerts,control," default:"" help:"telemetry, audit, alerts or control. Default: each."`
	Stream string `placeholder:"NAME" help:"One stream, such as EVENTS_0 or AUDIT. Default: each."`
	Since  moment `placeholder:"TIME" help:"Arrived since then: how long ago (15m), a day (2006-01-02) or a time (RFC 3339)."`
	Until  moment `placeholder:"TIME" help:"Arrived before then."`
}

func (f archiveFilter) filter() archive.Filter {
	return archive.Filter{Class: f.Class, Stream: f.Stream, Since: f.Since.nanoseconds(), Until: f.Until.nanoseconds()}
}

// archiveLs lists objects.
type archiveLs struct{ archiveFilter }

func (c *archiveLs) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	if err := s.out.header("FIRST", "LAST", "MESSAGES", "BYTES", "ARRIVED UP TO", "OBJECT"); err != nil {
		return err
	}
	if err := s.listDeleted(ctx, store, c.filter()); err != nil {
		return err
	}
	for o, err := range archive.List(ctx, store, c.filter()) {
		if err != nil {
			return err
		}
		if err := s.out.print(o, o.Index.First, o.Index.Last, o.Index.Count, o.Size, clock(o.Index.ArrivalTo), o.Key); err != nil {
			return err
		}
	}
	return nil
}

// archiveCat prints messages.
type archiveCat struct {
	archiveFilter
	From uint64 `placeholder:"SEQ" help:"From this sequence on."`
	To   uint64 `placeholder:"SEQ" help:"Up to this sequence."`
}

// archivedMessage is a message as JSON.
type archivedMessage struct {
	Stream  string       `json:"stream"`
	Epoch   string       `json:"epoch"`
	Seq     uint64       `json:"seq"`
	Time    int64        `json:"time"`    // by the broker, Unix ns
	Arrival int64        `json:"arrival"` // the running maximum of time
	Subject string       `json:"subject"`
	Header  fence.Header `json:"header,omitempty"`
	Payload []byte       `json:"payload"` // unpacked
}

func (c *archiveCat) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	filter := c.filter()
	filter.From, filter.To = c.From, c.To
	escape := config.IsTerminal(s.Stdout)
	return query.Messages(ctx, store, filter, func(r *archive.Record) error {
		unpacked, err := schemas.Unpack(nil, r.Payload, schemas.FrameDecoded)
		if err != nil {
			unpacked = r.Payload // no reader can unpack it; it is kept, and shown as it is
		}
		if s.out.json {
			return s.out.print(archivedMessage{
				Stream: r.Stream, Epoch: r.Epoch.String(), Seq: r.Seq, Time: r.Time, Arrival: r.Arrival,
				Subject: r.Subject, Header: r.Header, Payload: append([]byte{}, unpacked...),
			})
		}
		for line := range bytes.Lines(unpacked) {
			if err := s.out.line(bytes.TrimSuffix(line, []byte("\n")), escape); err != nil {
				return err
			}
		}
		return nil
	})
}

// archiveVerify proves the archive. Findings: the problems.
type archiveVerify struct {
	Full   bool     `help:"Read every message too. Default: only how the objects hang together."`
	Stream []string `placeholder:"NAME" help:"Only this stream, as often as needed. Default: each."`
}

func (c *archiveVerify) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	report, err := archive.Verify(ctx, store, archive.Options{Full: c.Full, Streams: c.Stream})
	if err != nil {
		return err
	}
	if s.out.json {
		if err := s.out.print(report); err != nil {
			return err
		}
	} else if err := printVerified(s.out, &report); err != nil {
		return err
	}
	if !report.OK() {
		return findingsError(plural(len(report.Problems), "problem"))
	}
	return nil
}

func printVerified(out *printer, report *archive.Report) error {
	if err := out.header("CHAIN", "LAST", "MESSAGES", "OBJECTS", "SEGMENTS", "BYTES", "COMPLETE BEFORE"); err != nil {
		return err
	}
	for _, c := range report.Chains {
		if err := out.print(c, c.Chain, c.Last, c.Count, c.Objects, c.Segments, c.Bytes, clock(c.Arrival)); err != nil {
			return err
		}
	}
	for _, c := range report.Chains {
		for _, m := range c.Missing {
			if err := out.print(m, fmt.Sprintf("%s: %d to %d are missing: %s", c.Chain, m.From, m.To, m.Reason)); err != nil {
				return err
			}
		}
	}
	for _, c := range report.Chains {
		for _, t := range c.Deleted {
			if err := out.print(t, c.Chain+": "+t.String()); err != nil {
				return err
			}
		}
	}
	for _, p := range report.Problems {
		if err := out.print(p, p.String()); err != nil {
			return err
		}
	}
	return nil
}
