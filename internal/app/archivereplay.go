package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/internal/replay"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// archiveReplay appends what was archived to a stream of its own.
type archiveReplay struct {
	From     moment      `required:"" placeholder:"TIME" help:"Arrived since then: how long ago (15m), a day (2006-01-02) or a time (RFC 3339)."`
	To       moment      `required:"" placeholder:"TIME" help:"Arrived before then."`
	Speed    speed       `default:"max" placeholder:"SPEED" help:"max, or how often faster than it arrived: 1x, 10x. Default: max."`
	Class    string      `enum:"telemetry,audit" default:"telemetry" help:"telemetry or audit."`
	Stream   string      `placeholder:"NAME" help:"One stream, such as EVENTS_0. Default: each of the class."`
	Name     string      `placeholder:"NAME" help:"The subject is replay.NAME. Default: made of what is chosen, so that the same command goes on where it was."`
	MaxBytes config.Size `default:"1GiB" placeholder:"SIZE" help:"Bytes of the stream REPLAY, if it is not there yet."`
}

// speed is a factor, 0 for as fast as it goes.
type speed float64

// UnmarshalText reads max, or a number with an x.
func (s *speed) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "max" {
		*s = 0
		return nil
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !strings.HasSuffix(text, "x") || !(f > 0 && f <= 1e6) {
		return fmt.Errorf("%q: use max, 1x or 10x", text)
	}
	*s = speed(f)
	return nil
}

func (c *archiveReplay) Run(ctx context.Context, s *session) error {
	filter := archive.Filter{Class: c.Class, Stream: c.Stream, Since: c.From.nanoseconds(), Until: c.To.nanoseconds()}
	if filter.Until <= filter.Since {
		return errors.New("--to is not behind --from: choose a later end")
	}
	if filter.Until > time.Now().UnixNano() {
		return errors.New("--to is in the future: what arrives until then is not archived yet")
	}
	name := c.Name
	if name == "" {
		name = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, filter.Class, " ", filter.Stream, " ", filter.Since, " ", filter.Until)))[:10]
	}
	name, err := schemas.Token(name)
	if err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	store, err := s.readArchive()
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := s.connect(ctx, "millrace archive replay", nil, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := pipeline.EnsureReplay(ctx, conn, s.config.Replicas, int64(c.MaxBytes)); err != nil {
		return err
	}
	log := conn.Log()
	defer log.Close()
	result, err := replay.Run(ctx, store, log, replay.Config{Filter: filter, Name: name, Speed: float64(c.Speed)})
	if errors.Is(err, fence.ErrFull) {
		err = fmt.Errorf("%w: give the stream REPLAY more bytes, or delete it and replay less", err)
	}
	if err != nil {
		return err
	}
	return s.out.print(result, fmt.Sprintf("%d messages appended to %s, after %d that were there", result.Appended, result.Subject, result.Skipped))
}
