package schemas

// Kind says what an event is.
type Kind string

// The kinds of events.
const (
	KindLog    Kind = "log"
	KindMetric Kind = "metric"
	KindAudit  Kind = "audit"
)

// Class is the class that events of the kind belong to, "" for an unknown kind.
func (k Kind) Class() Class {
	switch k {
	case KindLog, KindMetric:
		return Telemetry
	case KindAudit:
		return AuditTrail
	}
	return ""
}

// Event is one log record, metric sample or audit record as a service said it.
// The JSON names are in docs/events.md and event.schema.json. A zero field was
// not given.
type Event struct {
	Time     int64 // event time, Unix ns (UnixNano of a time.Time); 0: not given (a reader fills it with the arrival)
	Kind     Kind
	Service  string
	ID       string
	Instance string
	TraceID  string
	SpanID   string

	// Attributes holds every other key: nil, bool, float64, string, []any or
	// map[string]any. Numbers are float64, -0 is +0, there is no NaN or Inf.
	Attributes map[string]any

	// Logs.
	Level   string // DEBUG, INFO, WARNING, ERROR, CRITICAL
	Logger  string
	Message string
	Error   *Error

	// Metrics.
	Name  string
	Type  string // gauge, counter, histogram
	Value float64
	Unit  string

	// Audit.
	User     string
	Action   string
	Resource string
	Details  map[string]any
	Success  *bool
}

// Error is the failure that a log event reports.
type Error struct {
	Type    string
	Message string
	Stack   string
}
