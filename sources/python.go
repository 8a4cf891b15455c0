package sources

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Python log record comes under the names of logging.LogRecord
// (https://docs.python.org/3/library/logging.html#logrecord-attributes), as
// python-json-logger and formatters like it write them, or under names that
// rename_fields gave them. What an event has a field for goes there; the rest
// stays an attribute.

// recordMarks are names that only a log record has: with one of them, "name" is
// the logger's.
var recordMarks = []string{
	"levelname", "asctime", "created", "exc_info", "levelno", "funcName", "lineno",
	"module", "msecs", "pathname", "process", "processName", "relativeCreated",
	"stack_info", "taskName", "thread", "threadName",
}

// adoptRecord moves what a log record says of itself into the event's fields,
// where these were not given.
func adoptRecord(e *schemas.Event, zone *time.Location) error {
	a := e.Attributes
	if !slices.ContainsFunc(recordMarks, func(name string) bool { _, ok := a[name]; return ok }) {
		return nil
	}
	if name, ok := a["name"].(string); ok && e.Logger == "" {
		e.Logger = name
		delete(a, "name")
	}
	if err := adoptLevel(e); err != nil {
		return err
	}
	if err := adoptTime(e, zone); err != nil {
		return err
	}
	adoptTraceback(e)
	for _, name := range []string{"taskName", "exc_info", "stack_info"} {
		if v, ok := a[name]; ok && (v == nil || v == false) { // written on every record
			delete(a, name)
		}
	}
	if len(a) == 0 {
		e.Attributes = nil
	}
	return nil
}

func adoptLevel(e *schemas.Event) error {
	for _, name := range []string{"levelname", "levelno"} {
		v, ok := e.Attributes[name]
		if !ok || e.Level != "" {
			continue
		}
		level, ok := levelOf(v)
		if !ok {
			return &schemas.DecodeError{Field: name, Reason: "unknown level", Mend: "use DEBUG, INFO, WARNING, ERROR or CRITICAL"}
		}
		e.Level = level
		delete(e.Attributes, name)
	}
	return nil
}

// levelOf reads a level by its name, by the name that Python gives to a number
// without one ("Level 25"), or by Python's number.
func levelOf(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case float64:
		// Of a level between two named ones, the lower name is true.
		switch {
		case v >= 50:
			return "CRITICAL", true
		case v >= 40:
			return "ERROR", true
		case v >= 30:
			return "WARNING", true
		case v >= 20:
			return "INFO", true
		}
		return "DEBUG", true
	case string:
		if level, ok := schemas.ParseLevel(v); ok {
			return level, true
		}
		digits := strings.TrimPrefix(strings.TrimPrefix(v, "Level "), "level ")
		if n, err := strconv.Atoi(digits); err == nil {
			return levelOf(float64(n))
		}
		switch strings.ToUpper(v) {
		case "TRACE", "NOTSET":
			return "DEBUG", true
		case "NOTICE":
			return "INFO", true
		case "ERR":
			return "ERROR", true
		case "CRIT", "ALERT", "EMERG", "EMERGENCY":
			return "CRITICAL", true
		}
	}
	return "", false
}

func adoptTime(e *schemas.Event, zone *time.Location) error {
	for _, name := range []string{"asctime", "created"} {
		v, ok := e.Attributes[name]
		if !ok || e.Time != 0 {
			continue
		}
		ns, ok := timeOf(v, zone)
		if !ok {
			return &schemas.DecodeError{Field: name, Reason: "not a time", Mend: "leave datefmt as it is, or use %Y-%m-%dT%H:%M:%S%z"}
		}
		e.Time = ns
		delete(e.Attributes, name)
	}
	return nil
}

// timeLayouts are what asctime looks like: as it is without a datefmt (Go reads
// the comma before milliseconds), and with the ones that people choose.
var timeLayouts = []string{
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02 15:04:05 Z07:00",
}

// timeOf reads a time, or seconds since 1970, as Unix ns.
func timeOf(v any, zone *time.Location) (int64, bool) {
	if zone == nil {
		zone = time.UTC
	}
	switch v := v.(type) {
	case float64:
		// A double holds today's seconds to a quarter of a microsecond.
		if us := math.Round(v * 1e6); us > 0 && us < math.MaxInt64/1e3 {
			return int64(us) * 1e3, true
		}
	case string:
		for _, layout := range timeLayouts {
			if t, err := time.ParseInLocation(layout, v, zone); err == nil {
				return t.UnixNano(), t.Year() >= 1678 && t.Year() < 2262
			}
		}
	}
	return 0, false
}

// noException is what Python formats when exc_info was asked for and there was no
// exception.
const noException = "NoneType: None"

// adoptTraceback makes an exception of exc_info.
func adoptTraceback(e *schemas.Event) {
	stack, ok := textOf(e.Attributes["exc_info"])
	if !ok || stack == "" {
		return
	}
	if strings.TrimSpace(stack) == noException {
		delete(e.Attributes, "exc_info")
		return
	}
	if e.Error == nil {
		e.Error = &schemas.Error{}
	}
	if e.Error.Stack != "" {
		return
	}
	e.Error.Stack = stack
	delete(e.Attributes, "exc_info")
	name, message, _ := strings.Cut(raised(strings.TrimRight(stack, "\n")), ": ")
	if strings.ContainsAny(name, " \t\n") { // no type
		return
	}
	if e.Error.Type == "" {
		e.Error.Type = name
	}
	if e.Error.Message == "" {
		e.Error.Message = message
	}
}

// raised is the exception that a traceback ends with: its type, and a message of one
// line or more, such as those of databases. It follows the frames, which are
// indented; without frames it is the last line.
func raised(stack string) string {
	const header = "Traceback (most recent call last):\n"
	if at := strings.LastIndex(stack, header); at >= 0 {
		for rest := stack[at+len(header):]; rest != ""; {
			if rest[0] != ' ' {
				return rest
			}
			_, rest, _ = strings.Cut(rest, "\n")
		}
	}
	return stack[strings.LastIndexByte(stack, '\n')+1:]
}

// textOf reads a text that may come as a list of its lines.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []any:
		lines := make([]string, len(v))
		for i := range v {
			s, ok := v[i].(string)
			if !ok {
				return "", false
			}
			lines[i] = s
		}
		return strings.Join(lines, "\n"), true
	}
	return "", false
}

// decodeForeign reads a line that schemas.Decode refused for the form of its
// timestamp or level: seconds since 1970, a zone without a colon, a number for a
// level. Whatever else was wrong stays wrong.
func decodeForeign(line []byte, origin schemas.Origin, refusal error) (schemas.Event, error) {
	var fault *schemas.DecodeError
	if !errors.As(refusal, &fault) || fault.Field != "timestamp" && fault.Field != "level" {
		return schemas.Event{}, refusal
	}
	// The line is JSON without duplicate names, or the fault would be another.
	var members map[string]jsontext.Value
	if err := json.Unmarshal(line, &members); err != nil {
		return schemas.Event{}, refusal
	}
	var timestamp, level any
	if json.Unmarshal(members["timestamp"], &timestamp) == nil {
		if ns, ok := timeOf(timestamp, origin.Zone); ok {
			members["timestamp"], _ = json.Marshal(time.Unix(0, ns).UTC())
		}
	}
	if json.Unmarshal(members["level"], &level) == nil && level != nil {
		if name, ok := levelOf(level); ok {
			members["level"], _ = json.Marshal(name)
		}
	}
	again, err := json.Marshal(members)
	if err != nil {
		return schemas.Event{}, refusal
	}
	return schemas.Decode(again, origin)
}
