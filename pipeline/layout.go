package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// ReplayWindow is for how long a stream of events keeps messages at the least:
// what is in it may be read again. No lane sends a frame again after half of it.
const ReplayWindow = 72 * time.Hour

// KeepDecided is for how long changes of alerts, notifications and their deliveries
// stay at the least.
const KeepDecided = 90 * 24 * time.Hour

// Layout is what Apply makes of a broker.
type Layout struct {
	// Partitions is the number of telemetry streams. 0: 4. More can be added at
	// any time, none is ever removed.
	Partitions int
	// Replicas of every stream, 1 to 5; more than 1 needs a cluster. 0: 1.
	Replicas int
	// Archived says that an archiver trims what it archives: the streams of events,
	// ALERTS and the control log. Without one the streams of events forget what is
	// older than ReplayWindow or exceeds their bytes, and a rule counts every event
	// only while its worker is less than that behind.
	Archived bool
	// Receivers of notifications, by name.
	Receivers []string
	// Deployment is fixed when the control log is created. Zero: as it is, or
	// schemas.DefaultDeployment.
	Deployment schemas.Deployment
	// Rules come into force with the first partitions, by the same entry of the
	// control log, so that no event is stored before them. Later ones are for
	// AppendControl. nil: none.
	Rules *schemas.RuleSource

	// What the streams may hold, in bytes. The broker reserves it all.
	EventsBytes     int64 // each partition. 0: 1 GiB
	AuditBytes      int64 // 0: 1 GiB
	PartialsBytes   int64 // 0: 512 MiB
	AlertsBytes     int64 // ALERTS and CHECKPOINTS each. 0: 512 MiB
	ControlBytes    int64 // 0: 64 MiB
	NotifyBytes     int64 // NOTIFY and DELIVERIES each. 0: 256 MiB
	QuarantineBytes int64 // QUARANTINE and REDRIVE each. 0: 256 MiB

	// Sync is called after streams were created, before anything is stored in
	// them: the embedded server's Sync. nil: the server does that itself.
	Sync func() error
}

// Validate joins all faults of the layout.
func (l Layout) Validate() error {
	var faults []error
	if l.Partitions < 0 || l.Partitions > schemas.MaxPartitions {
		faults = append(faults, fmt.Errorf("partitions: %d; use 1 to %d", l.Partitions, schemas.MaxPartitions))
	}
	if l.Replicas < 0 || l.Replicas > 5 {
		faults = append(faults, fmt.Errorf("replicas: %d; use 1, 3 or 5", l.Replicas))
	}
	for _, r := range l.Receivers {
		if t, err := schemas.Token(r); err != nil || t != r {
			faults = append(faults, fmt.Errorf("receiver %q: a name has 1 to %d letters, digits, _ and -", r, schemas.TokenBytes))
		}
	}
	for _, b := range []struct {
		name  string
		bytes int64
	}{
		{"events", l.EventsBytes}, {"audit", l.AuditBytes}, {"partials", l.PartialsBytes}, {"alerts", l.AlertsBytes},
		{"control", l.ControlBytes}, {"notify", l.NotifyBytes}, {"quarantine", l.QuarantineBytes},
	} {
		if b.bytes < 0 || b.bytes > 0 && b.bytes < 4<<20 {
			faults = append(faults, fmt.Errorf("bytes of %s: %d; at least 4 MiB", b.name, b.bytes))
		}
	}
	return errors.Join(faults...)
}

func (l Layout) withDefaults() Layout {
	l.Partitions = cmp.Or(l.Partitions, 4)
	l.Replicas = cmp.Or(l.Replicas, 1)
	l.Deployment = cmp.Or(l.Deployment, schemas.DefaultDeployment)
	l.EventsBytes = cmp.Or(l.EventsBytes, 1<<30)
	l.AuditBytes = cmp.Or(l.AuditBytes, 1<<30)
	l.PartialsBytes = cmp.Or(l.PartialsBytes, 512<<20)
	l.AlertsBytes = cmp.Or(l.AlertsBytes, 512<<20)
	l.ControlBytes = cmp.Or(l.ControlBytes, 64<<20)
	l.NotifyBytes = cmp.Or(l.NotifyBytes, 256<<20)
	l.QuarantineBytes = cmp.Or(l.QuarantineBytes, 256<<20)
	return l
}

// partitions lists every partition of the layout.
func (l Layout) partitions() []schemas.Partition {
	out := make([]schemas.Partition, 0, l.Partitions+1)
	for p := range l.Partitions {
		out = append(out, schemas.Partition(p))
	}
	return append(out, schemas.Audit)
}

// quarantineAge is how long quarantined items are kept, and quarantineDedup for
// how long one that is put twice is stored once.
const (
	quarantineAge   = 30 * 24 * time.Hour
	quarantineDedup = 24 * time.Hour
)

// streams lists the configuration of every stream.
func (l Layout) streams() []jetstream.StreamConfig {
	stream := func(name, what string, bytes int64, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: what, Subjects: subjects,
			Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage,
			MaxBytes: bytes, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
			Discard: jetstream.DiscardNew, Replicas: l.Replicas, DenyDelete: true,
		}
	}
	var out []jetstream.StreamConfig
	for _, p := range l.partitions() {
		if p == schemas.Audit {
			out = append(out, stream(p.Stream(), "audit events", l.AuditBytes, "audit.*.*", p.Ticks(), "ingest.audit.*"))
			continue
		}
		e := "events." + p.String()
		subjects := []string{e + ".log.*.*", e + ".metric.*.*", p.Ticks()}
		if p == 0 {
			subjects = append(subjects, "ingest.log.*", "ingest.metric.*")
		}
		c := stream(p.Stream(), "log and metric events", l.EventsBytes, subjects...)
		if !l.Archived {
			c.Discard, c.MaxAge = jetstream.DiscardOld, ReplayWindow
		}
		out = append(out, c)
	}
	quarantine := stream(schemas.StreamQuarantine, "what could not be processed, with the reason", l.QuarantineBytes, "quarantine.*")
	quarantine.MaxAge, quarantine.Duplicates = quarantineAge, quarantineDedup
	redrive := stream(schemas.StreamRedrive, "what consumers get out of quarantine", l.QuarantineBytes, "redrive.*.*.*")
	redrive.MaxAge = quarantineAge
	return append(out,
		stream(schemas.StreamPartials, "partial aggregates of the partitions", l.PartialsBytes, "partials.*"),
		stream(schemas.StreamAlerts, "changes of alerts", l.AlertsBytes, "alerts.*"),
		stream(schemas.StreamCheckpoint, "states of the evaluators", l.AlertsBytes, "checkpoints.*"),
		stream(schemas.StreamControl, "rule sets and partitions in force", l.ControlBytes, schemas.SubjectControl),
		stream(schemas.StreamNotify, "notifications to send", l.NotifyBytes, "notify.*", "redrive.*.*"),
		stream(schemas.StreamDeliveries, "attempts to send them", l.NotifyBytes, "deliveries.*"),
		quarantine,
		redrive,
	)
}

// Names of the key-value buckets.
const (
	BucketMembers  = "members"
	BucketSilences = "silences"
	BucketAcks     = "acks"
)

// buckets lists the configuration of every key-value bucket.
func (l Layout) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{
			// A single server forgets a stream in memory, and its name, when it restarts.
			Bucket: BucketMembers, Description: "heartbeats of the processes; liveness only", Replicas: l.Replicas,
			Storage: jetstream.FileStorage, MaxBytes: 16 << 20, LimitMarkerTTL: time.Minute,
		},
		{Bucket: BucketSilences, Description: "silences of alerts", Replicas: l.Replicas, Storage: jetstream.FileStorage, MaxBytes: 16 << 20, History: 8},
		{Bucket: BucketAcks, Description: "acknowledged alerts", Replicas: l.Replicas, Storage: jetstream.FileStorage, MaxBytes: 16 << 20, History: 8},
	}
}
