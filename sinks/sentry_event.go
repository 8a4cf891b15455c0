package sinks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// sentryEventOptions are the options of errors as issues.
type sentryEventOptions struct {
	SentryOptions `yaml:",inline"`
	// Messages tells Sentry what the errors say. Default: false: messages are free
	// text, and may hold what no third party may see.
	Messages bool `yaml:"messages"`
}

// SentryEvents makes issues of the errors that services log: of log events of
// level ERROR or CRITICAL, and of those with an error. Sentry gets the type and
// the stack, without variables, source lines and arguments; service, level,
// logger and trace; and the message only where that is configured. Nothing else
// of an event.
//
// The event_id is made of the event's position and time: a second attempt is the
// same event, and Sentry keeps one.
type SentryEvents struct {
	project  *sentryProject // nil: off
	messages bool
}

func buildSentryEvents(_ string, options notify.Options, env Env) (EventSink, error) {
	var o sentryEventOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	p, err := openSentry(o.SentryOptions, env)
	return &SentryEvents{p, o.Messages}, err
}

// Off implements EventSink.
func (s *SentryEvents) Off() (reason string, off bool) { return s.project.off() }

// Write implements EventSink. Events that are no errors are passed over.
func (s *SentryEvents) Write(ctx context.Context, events []Delivered) error {
	if reason, off := s.Off(); off {
		return &SendError{Reason: reason}
	}
	for i, d := range events {
		if !isError(d.Event) {
			continue
		}
		e := sentryErrorOf(d, s.messages)
		s.project.mark(e)
		if err := s.project.send(ctx, e); err != nil {
			return failedAt(err, i)
		}
	}
	return nil
}

// failedAt adds to a permanent error which event it is about.
func failedAt(err error, i int) error {
	if e := (*SendError)(nil); errors.As(err, &e) && e.Never {
		return eventError{e, i}
	}
	return err
}

// eventError is a permanent error about one event; see EventSink.
type eventError struct {
	*SendError
	index int
}

// Failed is the index of the event.
func (e eventError) Failed() int { return e.index }

func isError(e *schemas.Event) bool {
	return e != nil && e.Kind == schemas.KindLog && (e.Error != nil || e.Level == "ERROR" || e.Level == "CRITICAL")
}

// sentryErrorOf makes an event of a logged error.
func sentryErrorOf(d Delivered, messages bool) *sentry.Event {
	in := d.Event
	e := &sentry.Event{
		EventID:   sentryEventID(d),
		Timestamp: time.Unix(0, d.Time).UTC(),
		Platform:  "other",
		Level:     sentry.LevelError,
		Logger:    codeName(in.Logger),
		Tags:      map[string]string{"service": truncate(printable(in.Service, false), sentryTagValue)},
		Sdk:       sentry.SdkInfo{Name: "millrace"},
	}
	if in.Level == "CRITICAL" {
		e.Level = sentry.LevelFatal
	}
	if id := strings.ToLower(in.TraceID); traceID.MatchString(id) {
		trace := sentry.Context{"trace_id": id}
		if span := strings.ToLower(in.SpanID); spanID.MatchString(span) {
			trace["span_id"] = span
		}
		e.Contexts = map[string]sentry.Context{"trace": trace}
	}
	var said string // by the error, otherwise by the log
	var stack stack
	kind := "log"
	if in.Error != nil {
		kind, said = "Error", in.Error.Message
		if name := codeName(in.Error.Type); name != "" {
			kind = name
		}
		stack = parseStack(in.Error.Stack)
		e.Platform = stack.platform()
		e.Exception = stack.exceptions(kind)
	}
	if said == "" {
		said = in.Message
	}
	where := stack.top()
	if messages {
		text := func(s string) string { return truncate(printable(s, true), sentryMessage) }
		e.Message = text(in.Message)
		if len(e.Exception) > 0 {
			e.Exception[len(e.Exception)-1].Value = text(said)
		}
		if where == "" {
			where = truncate(printable(messageTemplate(said), false), sentryKey)
		}
	} else if in.Error == nil {
		e.Message = in.Level + " from " + orElse(e.Logger, "a log")
	}
	if where == "" {
		where = e.Logger
	}
	e.Fingerprint = []string{"millrace", e.Tags["service"], kind, where}
	return e
}

// sentryEventID is the same for the same event: its position, and its time for a
// stream that was made anew.
func sentryEventID(d Delivered) sentry.EventID {
	sum := sha256.Sum256([]byte(d.Position() + "/" + strconv.FormatInt(d.Time, 10)))
	return sentry.EventID(hex.EncodeToString(sum[:16]))
}

var (
	traceID = regexp.MustCompile(`^[0-9a-f]{32}$`)
	spanID  = regexp.MustCompile(`^[0-9a-f]{16}$`)
	// code is what names of types, loggers and functions are made of. Free text is
	// none.
	codeText = regexp.MustCompile(`^[A-Za-z_*<(][A-Za-z0-9_.:/*()<>\[\]$@~-]{0,255}$`)
)

// codeName is a name as code has them, and "" for what is none.
func codeName(s string) string {
	if !codeText.MatchString(s) {
		return ""
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// variable are the parts of a message that differ from one time to the next:
// what is quoted, addresses, long hexadecimal numbers and everything with a
// digit.
var variable = regexp.MustCompile(`"[^"\n]*"|'[^'\n]*'|\S+@\S+|\b[0-9a-fA-F-]{16,}\b|\S*[0-9]\S*`)

// messageTemplate is what messages of one kind have in common.
func messageTemplate(s string) string {
	if len(s) > sentryMessage {
		s = s[:sentryMessage]
	}
	return strings.Join(strings.Fields(variable.ReplaceAllString(s, "*")), " ")
}
