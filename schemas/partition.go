package schemas

import (
	"fmt"
	"strconv"
	"strings"
)

// Class separates what may never be mixed: telemetry (logs and metrics) and
// audit. A rule belongs to one class, and each class has one evaluator.
type Class string

// The two classes.
const (
	Telemetry  Class = "telemetry"
	AuditTrail Class = "audit"
)

// Classes lists every class, in the order in which they are shown.
var Classes = []Class{Telemetry, AuditTrail}

// Alerts is the subject on which the class's evaluator writes its decisions.
func (c Class) Alerts() string { return "alerts." + string(c) }

// Checkpoints is the subject on which the class's evaluator writes its state.
func (c Class) Checkpoints() string { return "checkpoints." + string(c) }

// Partition is one input stream of the pipeline: 0, 1, 2, ... for telemetry,
// Audit for the audit trail. Partitions of a class are ordered by number.
type Partition int

// Audit is the partition of the audit trail, the only one of its class.
const Audit Partition = -1

// MaxPartitions bounds the number of telemetry partitions: enough for any
// cluster, small enough for a table.
const MaxPartitions = 1024

// Class tells which class the partition feeds.
func (p Partition) Class() Class {
	if p == Audit {
		return AuditTrail
	}
	return Telemetry
}

// String is the partition's name in subjects and messages: "0", "1", "audit".
func (p Partition) String() string {
	if p == Audit {
		return "audit"
	}
	return strconv.Itoa(int(p))
}

// ParsePartition is the inverse of String.
func ParsePartition(s string) (Partition, error) {
	if s == "audit" {
		return Audit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n >= MaxPartitions || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("partition %q: want audit or a number from 0 to %d", s, MaxPartitions-1)
	}
	return Partition(n), nil
}

// MarshalText writes the partition as its name.
func (p Partition) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a partition's name.
func (p *Partition) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePartition(string(b))
	return err
}

// Stream is the JetStream stream that holds the partition's frames.
func (p Partition) Stream() string {
	if p == Audit {
		return StreamAudit
	}
	return "EVENTS_" + p.String()
}

// Partials is the subject on which the partition's reducer writes.
func (p Partition) Partials() string { return "partials." + p.String() }

// Ticks is the subject of the partition's tick frames: messages without events
// that exist for their timestamp.
func (p Partition) Ticks() string {
	if p == Audit {
		return "audit.tick"
	}
	return "events." + p.String() + ".tick"
}

// Names of the streams; those of the telemetry partitions come from
// Partition.Stream.
const (
	StreamAudit      = "AUDIT"
	StreamPartials   = "PARTIALS"
	StreamAlerts     = "ALERTS"
	StreamCheckpoint = "CHECKPOINTS"
	StreamControl    = "CONTROL"
	StreamNotify     = "NOTIFY"
	StreamDeliveries = "DELIVERIES"
	StreamQuarantine = "QUARANTINE"
	StreamRedrive    = "REDRIVE"
	StreamReplay     = "REPLAY"
)

// SubjectControl is the one subject of the control log.
const SubjectControl = "control"

// StreamOf tells which stream holds a subject, or "" for a subject that is not
// ours. Subjects of the doors for foreign clients (ingest.<kind>.<service>)
// belong to AUDIT for audit events and to EVENTS_0 otherwise.
func StreamOf(subject string) string {
	first, rest, _ := strings.Cut(subject, ".")
	second, _, _ := strings.Cut(rest, ".")
	switch first {
	case "events":
		if p, err := ParsePartition(second); err == nil && p != Audit {
			return p.Stream()
		}
	case "ingest":
		if second == string(KindAudit) {
			return StreamAudit
		}
		return Partition(0).Stream()
	case "audit":
		return StreamAudit
	case "partials":
		return StreamPartials
	case "alerts":
		return StreamAlerts
	case "checkpoints":
		return StreamCheckpoint
	case SubjectControl:
		return StreamControl
	case "notify":
		return StreamNotify
	case "deliveries":
		return StreamDeliveries
	case "quarantine":
		return StreamQuarantine
	case "replay":
		return StreamReplay
	case "redrive":
		if strings.Count(rest, ".") == 1 { // redrive.<receiver>.<hash>
			return StreamNotify
		}
		return StreamRedrive
	}
	return ""
}
