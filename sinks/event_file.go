package sinks

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Rotation of the seed's logs: at 10 MB or daily, ten kept.
const (
	fileBytes = 10_000_000
	fileKeep  = 10
)

type eventFileOptions struct {
	// Dir is where the file stands. Default: files/<name> in the data directory.
	Dir      string `yaml:"dir"`
	MaxBytes int64  `yaml:"max_bytes"` // at which it is rotated. Default: 10 MB
	Keep     int    `yaml:"keep"`      // rotated files. Default: 10
}

// EventFile writes events to a file as JSON, a line each with its position, and
// once, through crashes and rotations.
type EventFile struct {
	journal *journal // nil: off
	off     string
	line    func(dst []byte, d Delivered) ([]byte, error)
}

func buildEventFile(name string, options notify.Options, env Env) (EventSink, error) {
	var o eventFileOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	if o.Dir == "" && env.Dir != "" {
		o.Dir = filepath.Join(env.Dir, "files", name)
	}
	if o.MaxBytes < 0 || o.Keep < 0 {
		return nil, errors.New("max_bytes and keep: not below zero")
	}
	if o.Dir == "" {
		return &EventFile{off: "no directory: set dir"}, nil
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = fileBytes
	}
	if o.Keep == 0 {
		o.Keep = fileKeep
	}
	return &EventFile{line: eventLine, journal: &journal{
		dir: o.Dir, stem: "events", ext: ".ndjson", maxBytes: o.MaxBytes, keep: o.Keep, now: env.clock(),
	}}, nil
}

func (env Env) clock() func() time.Time {
	if env.Now == nil {
		return time.Now
	}
	return env.Now
}

// eventLine is the event as it is stored, after its position.
func eventLine(dst []byte, d Delivered) ([]byte, error) {
	dst = append(dst, `{"position":`...)
	dst = strconv.AppendQuote(dst, d.Position()) // letters, digits, _ and /
	at := len(dst)
	dst, err := schemas.AppendJSON(dst, d.Event)
	if err != nil {
		return dst, err
	}
	dst[at] = ',' // an event is an object that is not empty
	return append(dst, '\n'), nil
}

// Off implements EventSink.
func (f *EventFile) Off() (reason string, off bool) { return f.off, f.off != "" }

// Path is the file that is written to; "" where it is off.
func (f *EventFile) Path() string {
	if f.journal == nil {
		return ""
	}
	return f.journal.path()
}

// Write implements EventSink.
func (f *EventFile) Write(_ context.Context, events []Delivered) error {
	if reason, off := f.Off(); off {
		return &SendError{Reason: reason}
	}
	var positions []string
	var lines [][]byte
	for i, d := range events {
		line, err := f.line(nil, d)
		if err != nil {
			if err := f.append(positions, lines); err != nil {
				return err // those before it come first
			}
			return eventError{&SendError{Reason: "the event cannot be written as JSON", Never: true}, i}
		}
		if line != nil {
			positions, lines = append(positions, d.Position()), append(lines, line)
		}
	}
	return f.append(positions, lines)
}

func (f *EventFile) append(positions []string, lines [][]byte) error {
	err := f.journal.append(positions, lines)
	if errors.Is(err, errHeld) || errors.Is(err, errForeign) {
		return &SendError{Reason: "file: " + err.Error()}
	}
	if err != nil {
		return &SendError{Reason: "file: " + withoutPath(err)}
	}
	return nil
}
