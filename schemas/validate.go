package schemas

import (
	"errors"
	"math"
	"strings"
)

const levels = "DEBUG, INFO, WARNING, ERROR or CRITICAL"

// ParseLevel gives the level that a name means, in any case, with the synonyms
// WARN and FATAL.
func ParseLevel(s string) (level string, ok bool) {
	for _, l := range [...]string{"INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"} {
		if strings.EqualFold(s, l) {
			return l, true
		}
	}
	switch {
	case strings.EqualFold(s, "WARN"):
		return "WARNING", true
	case strings.EqualFold(s, "FATAL"):
		return "CRITICAL", true
	}
	return "", false
}

// Validate reports every fault of an event, each a *DecodeError, joined. Types
// of attributes are AppendJSON's to check.
func (e *Event) Validate() error {
	var all []error
	for _, f := range e.faults() {
		all = append(all, f)
	}
	return errors.Join(all...)
}

// fault is the first fault, or nil.
func (e *Event) fault() error {
	if f := e.faults(); f != nil {
		return f[0]
	}
	return nil
}

// faults lists the faults; an event without one costs no memory.
func (e *Event) faults() (all []*DecodeError) {
	fault := func(field, reason, mend string) {
		all = append(all, &DecodeError{Field: field, Reason: reason, Mend: mend})
	}
	if e.Kind.Class() == "" {
		fault("kind", "missing or unknown", "use log, metric or audit")
	}
	if e.Time >= maxTime || e.Time <= -maxTime {
		fault("timestamp", timeRange, "")
	}
	if n := tokenLen(e.Service); n == 0 || n > TokenBytes {
		all = append(all, tokenFault(n).in("service"))
	}
	switch e.Kind {
	case KindLog:
		if level, ok := ParseLevel(e.Level); e.Level != "" && (!ok || level != e.Level) {
			fault("level", "unknown", "use "+levels)
		}
	case KindMetric:
		if e.Name == "" {
			fault("name", "missing", "a metric needs a name and a value")
		}
		if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
			fault("value", "not a finite number", "leave the sample out")
		}
		switch e.Type {
		case "", "gauge", "counter", "histogram":
		default:
			fault("type", "unknown", "use gauge, counter or histogram")
		}
	case KindAudit:
		for _, f := range [...]struct{ field, value string }{
			{"user", e.User}, {"action", e.Action}, {"resource", e.Resource},
		} {
			if f.value == "" {
				fault(f.field, "missing", "an audit event needs user, action and resource")
			}
		}
	}
	if e.Kind != KindLog && (e.Level != "" || e.Logger != "" || e.Message != "" || e.Error != nil) {
		fault("kind", "only a log event has level, logger, message and error", "make them attributes")
	}
	if e.Kind != KindMetric && (e.Name != "" || e.Type != "" || e.Value != 0 || e.Unit != "") {
		fault("kind", "only a metric has name, type, value and unit", "make them attributes")
	}
	if e.Kind != KindAudit && (e.User != "" || e.Action != "" || e.Resource != "" || e.Details != nil || e.Success != nil) {
		fault("kind", "only an audit event has user, action, resource, details and success", "make them attributes")
	}
	return all
}
