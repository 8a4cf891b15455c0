package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// silenceCommand groups what is about silences.
type silenceCommand struct {
	Add silenceAdd `cmd:"" help:"Silence the alerts that all matchers match."`
	Ls  silenceLs  `cmd:"" help:"List silences."`
	Rm  silenceRm  `cmd:"" help:"End a silence now. It stays in the list of all."`
}

// silenceAdd stores a silence.
type silenceAdd struct {
	Matchers []string      `arg:"" help:"label=value, label!=value, label=~pattern or label!~pattern; alertname is the name of the rule."`
	For      time.Duration `placeholder:"DURATION" help:"How long it holds, such as 2h."`
	Until    moment        `placeholder:"TIME" help:"When it ends, as RFC 3339."`
	Start    moment        `placeholder:"TIME" help:"When it starts, as RFC 3339. Default: now."`
	Author   string        `placeholder:"NAME" help:"Who silences. Default: who is logged in."`
	Comment  string        `required:"" placeholder:"TEXT" help:"Why."`
}

func (c *silenceAdd) Run(ctx context.Context, s *session) error {
	silence, err := c.silence(time.Now())
	if err != nil {
		return err
	}
	return s.withSilences(ctx, func(conn *pipeline.Conn, silences *pipeline.Silences) error {
		if err := silences.Put(ctx, silence); err != nil {
			return err
		}
		if err := s.auditSilence(ctx, conn, silence.Author, "silence.add", silence); err != nil {
			return err
		}
		return s.out.print(silence, silence.ID)
	})
}

// lastYear is the last whole one that Unix nanoseconds can count.
const lastYear = 2261

// silence is what the flags say.
func (c *silenceAdd) silence(now time.Time) (schemas.Silence, error) {
	author := c.Author
	if author == "" {
		author = loggedIn()
	}
	start := c.Start.Time
	if start.IsZero() {
		start = now
	}
	end := c.Until.Time
	switch {
	case c.For == 0 && end.IsZero():
		return schemas.Silence{}, errors.New("say how long it holds: --for 2h, or --until 2006-01-02T15:04:05Z")
	case c.For != 0 && !end.IsZero():
		return schemas.Silence{}, errors.New("use --for or --until, not both")
	case c.For != 0:
		end = start.Add(c.For)
	}
	switch {
	case !end.After(start) || !end.After(now):
		return schemas.Silence{}, fmt.Errorf("it would end at %s, which is over or before its start; choose a later end", end.UTC().Format(time.RFC3339))
	case end.Year() > lastYear:
		return schemas.Silence{}, fmt.Errorf("it would end in the year %d; choose an end before %d", end.Year(), lastYear+1)
	case author == "":
		return schemas.Silence{}, errors.New("say who silences: --author NAME")
	case strings.TrimSpace(c.Comment) == "":
		return schemas.Silence{}, errors.New("say why: --comment TEXT")
	}
	silence := schemas.Silence{
		ID: strings.ToLower(rand.Text()[:10]), Matchers: c.Matchers, Starts: start.UnixNano(), Ends: end.UnixNano(),
		Author: author, Comment: c.Comment, Created: now.UnixNano(),
	}
	return silence, notify.ValidateSilence(silence)
}

// withSilences connects and gives the silences to fn.
func (s *session) withSilences(ctx context.Context, fn func(*pipeline.Conn, *pipeline.Silences) error) error {
	conn, err := s.connect(ctx, "millrace silence", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(conn, pipeline.NewSilences(conn))
}

// auditSilence publishes what an operator did with a silence.
func (s *session) auditSilence(ctx context.Context, conn *pipeline.Conn, who, action string, silence schemas.Silence) error {
	return s.audit(ctx, conn, who, action, "silence "+silence.ID, map[string]any{
		"matchers": strings.Join(silence.Matchers, ", "), "ends": clock(silence.Ends), "comment": silence.Comment,
	})
}

// silenceLs lists silences.
type silenceLs struct {
	All bool `help:"List those that are over, too."`
}

func (c *silenceLs) Run(ctx context.Context, s *session) error {
	return s.withSilences(ctx, func(conn *pipeline.Conn, silences *pipeline.Silences) error {
		list, err := silences.List(ctx)
		if err != nil {
			return err
		}
		log := conn.Log()
		defer log.Close()
		firing := map[string]schemas.Transition{}
		err = scanAs(ctx, log, schemas.StreamAlerts, "alerts.", schemas.TypeDecision, func(_ fence.Entry, d *schemas.Decision) error {
			for _, t := range d.Transitions {
				delete(firing, t.Instance+"|"+t.Group)
				if t.To == schemas.Firing || t.To == schemas.Cooling {
					firing[t.Instance+"|"+t.Group] = t
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.out.header("ID", "STATE", "STARTS", "ENDS", "QUIET", "AUTHOR", "MATCHERS", "COMMENT"); err != nil {
			return err
		}
		now := time.Now()
		for _, silence := range list {
			l := listedSilence{Silence: silence, State: silenceState(silence, now)}
			if l.State == "over" && !c.All {
				continue
			}
			for _, t := range firing {
				if notify.Silences(silence, now, t.Rule, t.Labels) {
					l.Quiet++
				}
			}
			if err := s.out.print(l, l.ID, l.State, clock(l.Starts), clock(l.Ends), l.Quiet, l.Author, strings.Join(l.Matchers, " "), l.Comment); err != nil {
				return err
			}
		}
		return nil
	})
}

// listedSilence is a silence as JSON.
type listedSilence struct {
	schemas.Silence
	State string `json:"state"` // active, waiting, over
	Quiet int    `json:"quiet"` // alerts that fire and that it keeps quiet now
}

func silenceState(s schemas.Silence, now time.Time) string {
	switch at := now.UnixNano(); {
	case at >= s.Ends:
		return "over"
	case at < s.Starts:
		return "waiting"
	}
	return "active"
}

// silenceRm ends a silence.
type silenceRm struct {
	ID     string `arg:"" help:"As silence ls shows it."`
	Author string `placeholder:"NAME" help:"Who ends it. Default: who is logged in."`
}

func (c *silenceRm) Run(ctx context.Context, s *session) error {
	return s.withSilences(ctx, func(conn *pipeline.Conn, silences *pipeline.Silences) error {
		list, err := silences.List(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(silence schemas.Silence) bool { return silence.ID == c.ID })
		if i < 0 {
			return findingsError("there is no silence " + c.ID + "; millrace silence ls --all lists them")
		}
		silence, now := list[i], time.Now()
		if silenceState(silence, now) == "over" {
			return findingsError("silence " + c.ID + " is over already")
		}
		silence.Ends = now.UnixNano()
		silence.Starts = min(silence.Starts, silence.Ends)
		if err := silences.Put(ctx, silence); err != nil {
			return err
		}
		who := c.Author
		if who == "" {
			who = loggedIn()
		}
		if err := s.auditSilence(ctx, conn, who, "silence.rm", silence); err != nil {
			return err
		}
		return s.out.print(silence, silence.ID+" is over")
	})
}
