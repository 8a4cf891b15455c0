package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/pipeline"
)

// holdCommand groups what is about legal holds.
type holdCommand struct {
	Add holdAdd `cmd:"" help:"Keep every object with an event of a service, a user or a resource."`
	Ls  holdLs  `cmd:"" help:"List legal holds."`
	Rm  holdRm  `cmd:"" help:"End a legal hold. It stays in the list of all."`
}

// holdAdd stores a hold.
type holdAdd struct {
	Service  string `placeholder:"NAME" help:"Whose events are held. What is given more of must all be so."`
	User     string `placeholder:"NAME" help:"Events of this user."`
	Resource string `placeholder:"NAME" help:"Events about this resource, such as patient/7."`
	Author   string `placeholder:"NAME" help:"Who holds. Default: who is logged in."`
	Comment  string `required:"" placeholder:"TEXT" help:"Why."`
}

func (c *holdAdd) Run(ctx context.Context, s *session) error {
	h := archive.Hold{
		ID: strings.ToLower(rand.Text()[:10]), Service: c.Service, User: c.User, Resource: c.Resource,
		Author: cmp.Or(c.Author, loggedIn()), Comment: c.Comment, Created: time.Now().UnixNano(),
	}
	return s.withHolds(ctx, func(conn *pipeline.Conn, store archive.Store) error {
		if err := archive.AddHold(ctx, store, h); err != nil {
			return err
		}
		if err := s.audit(ctx, conn, h.Author, "archive.hold.add", "hold "+h.ID, map[string]any{"what": h.String(), "comment": h.Comment}); err != nil {
			return errors.Join(errors.New("the hold "+h.ID+" is in force, but the audit trail does not say so: add it again when the broker is there, and end this one"), err)
		}
		return s.out.print(h, h.ID)
	})
}

// withHolds gives the broker and the archive to fn.
func (s *session) withHolds(ctx context.Context, fn func(*pipeline.Conn, archive.Store) error) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := s.connect(ctx, "millrace archive hold", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(conn, store)
}

// holdLs lists holds.
type holdLs struct {
	All bool `help:"List those that were ended, too."`
}

func (c *holdLs) Run(ctx context.Context, s *session) error {
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	holds, err := archive.Holds(ctx, store)
	if err != nil {
		return err
	}
	if err := s.out.header("ID", "STATE", "SINCE", "AUTHOR", "HOLDS", "COMMENT"); err != nil {
		return err
	}
	for _, h := range holds {
		state := "in force"
		if h.Released != nil {
			state = "ended on " + clock(h.Released.At) + " by " + h.Released.Author
		}
		if h.Released != nil && !c.All {
			continue
		}
		if err := s.out.print(h, h.ID, state, clock(h.Created), h.Author, h.String(), h.Comment); err != nil {
			return err
		}
	}
	return nil
}

// holdRm ends a hold.
type holdRm struct {
	ID      string `arg:"" help:"As hold ls shows it."`
	Author  string `placeholder:"NAME" help:"Who ends it. Default: who is logged in."`
	Comment string `required:"" placeholder:"TEXT" help:"Why."`
}

func (c *holdRm) Run(ctx context.Context, s *session) error {
	r := archive.Release{Author: cmp.Or(c.Author, loggedIn()), Comment: c.Comment, At: time.Now().UnixNano()}
	if r.Author == "" || strings.TrimSpace(r.Comment) == "" {
		return errors.New("say who ends it, and why: --author NAME --comment TEXT")
	}
	return s.withHolds(ctx, func(conn *pipeline.Conn, store archive.Store) error {
		holds, err := archive.Holds(ctx, store)
		if err != nil {
			return err
		}
		for _, h := range holds {
			switch {
			case h.ID != c.ID:
				continue
			case h.Released != nil:
				return findingsError("hold " + c.ID + " was ended already")
			}
			// The audit trail says so before it is so.
			if err := s.audit(ctx, conn, r.Author, "archive.hold.rm", "hold "+h.ID, map[string]any{"what": h.String(), "comment": r.Comment}); err != nil {
				return err
			}
			if err := archive.ReleaseHold(ctx, store, h.ID, r); err != nil {
				return err
			}
			h.Released = &r
			return s.out.print(h, h.ID+" has ended")
		}
		return findingsError("there is no hold " + c.ID + "; millrace archive hold ls --all lists them")
	})
}
