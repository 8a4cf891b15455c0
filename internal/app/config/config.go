package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Config is everything that can be set. Default gives the values that the
// comments name; Load reads the rest.
//
// Each value has one name, its path in the file: nats.url is the flag
// --nats-url or --set nats.url=..., and the variable MILLRACE_NATS_URL. A
// secret may also be given as the name of a file that holds it: token_file in
// the file, MILLRACE_..._FILE in the environment.
type Config struct {
	// Data is the directory for everything that this machine keeps. Default: data.
	Data Path `yaml:"data"`
	// Log is what the program says of itself.
	Log Log `yaml:"log"`
	// HTTP is the door for events, and where health and metrics are served.
	HTTP HTTP `yaml:"http"`
	// NATS is the broker.
	NATS NATS `yaml:"nats"`
	// Partitions is the number of telemetry streams that apply opens; more can be
	// opened at any time, none closed. Default: 4.
	Partitions int `yaml:"partitions"`
	// Replicas of each stream: 1, 3 or 5. Default: 1.
	Replicas int `yaml:"replicas"`
	// Deployment is what can never change once a deployment exists.
	Deployment Deployment `yaml:"deployment"`
	// Rules are the rule files that apply puts in force. Default: none, which
	// stands for the rules that are built in.
	Rules []Path `yaml:"rules"`
	// Archive is where every event is kept.
	Archive Archive `yaml:"archive"`
	// Verify is how it is proven that nothing was lost.
	Verify Verify `yaml:"verify"`
	// Publisher is how events come in from files.
	Publisher Publisher `yaml:"publisher"`
	// Metrics are those that are made from events.
	Metrics Metrics `yaml:"metrics"`

	// Sinks are the places that take events. Default: none.
	Sinks []Sink `yaml:"sinks"`
	// Notify is the route and the receivers.
	Notify notify.Config `yaml:",inline"`
}

// Log is what the program says of itself, on standard error.
type Log struct {
	// Level is debug, info, warning, error or critical. Default: info.
	Level string `yaml:"level"`
	// Format is json, console, or auto: console on a terminal, json elsewhere.
	// Default: auto.
	Format string `yaml:"format"`
}

// HTTP is what a program serves.
type HTTP struct {
	// Addr is host:port. Default: loopback, with port 8480 for up and the
	// publisher, 8481 for the processor and 8482 for the archiver.
	Addr string `yaml:"addr"`
	// Tokens is a file with the tokens that requests must carry, and the service
	// that each may speak for; see docs/sources.md. Default: none, which lets in
	// everybody who reaches the address.
	Tokens Path `yaml:"tokens"`
}

// NATS is the broker.
type NATS struct {
	// URL of the servers, several with commas between them. Default: none, which
	// for millrace up means a server of its own in the data directory.
	URL secret.URL `yaml:"url"`
	// Credentials is a .creds file. Default: none.
	Credentials Path `yaml:"credentials"`
	// CA is a PEM file with the authorities that may vouch for the servers.
	// Default: those of the system.
	CA Path `yaml:"ca"`
	// Certificate is a PEM file that shows the server who we are. Default: none.
	Certificate Path `yaml:"certificate"`
	// Key is the PEM file with the key of the certificate. Default: none.
	Key Path `yaml:"key"`
	// Inbox is the prefix of the subjects on which answers arrive, where the user
	// may not listen on all of them. Default: none, which stands for _INBOX.
	Inbox string `yaml:"inbox"`
	// Listen is where the server of millrace up takes other processes of this
	// machine. Default: 127.0.0.1:4222.
	Listen string `yaml:"listen"`
}

// Deployment is what can never change once a deployment exists.
type Deployment struct {
	// Tick is how often rules decide, 100ms or more. Default: 1s.
	Tick time.Duration `yaml:"tick"`
	// Lateness is how long late events are waited for, whole ticks. Default: 1s.
	Lateness time.Duration `yaml:"lateness"`
	// Delay is how long after it was stored a change of the rules takes effect,
	// whole ticks. Default: 5s.
	Delay time.Duration `yaml:"delay"`
}

// Archive is where every event is kept.
type Archive struct {
	// Enabled says that an archiver runs. Without one, streams forget what is older
	// than 72h, and a rule counts every event only while its worker is less than
	// that behind. Default: true.
	Enabled bool `yaml:"enabled"`
	// Dir is the directory of the objects. Default: archive in the data directory.
	Dir Path `yaml:"dir"`
	// S3 is the store of the objects instead of a directory.
	S3 S3 `yaml:"s3"`
	// CutBytes is the size at which an object is put. Default: 10MB.
	CutBytes Size `yaml:"cut_bytes"`
	// CutAge is how long events wait for an object to fill. Default: 0s, which
	// stands for 1m for the audit trail and 5m for everything else.
	CutAge time.Duration `yaml:"cut_age"`
	// Compact is how objects become segments.
	Compact Compact `yaml:"compact"`
	// Retention is for how long segments are kept.
	Retention Retention `yaml:"retention"`
}

// Retention is for how long segments are kept, by when their events arrived.
// Alerts and the control log are kept for ever.
type Retention struct {
	// Enabled says that archivers delete. Default: true.
	Enabled bool `yaml:"enabled"`
	// Telemetry is for how long logs and metrics are kept. Default: 90d.
	Telemetry Period `yaml:"telemetry"`
	// Audit is for how long the audit trail is kept. Default: 6y30d.
	Audit Period `yaml:"audit"`
	// ConfirmShortAudit confirms that audit is less than the 6 years for which
	// 45 CFR 164.316(b)(2)(i) has documentation kept. Default: false.
	ConfirmShortAudit bool `yaml:"confirm_short_audit"`
	// Grace is for how long what is to be deleted stays, unread, 1h or more. In it a
	// legal hold, or a longer retention, brings it back. Default: 96h.
	Grace time.Duration `yaml:"grace"`
}

// legalYears is for how long an audit trail is kept, unless told otherwise twice:
// 45 CFR 164.316(b)(2)(i).
const legalYears = 6

// replayWindow is pipeline.ReplayWindow, which this package does not know.
const replayWindow = 72 * time.Hour

// Compact is how objects become segments, which are Parquet files.
type Compact struct {
	// Enabled says that archivers compact. Default: true.
	Enabled bool `yaml:"enabled"`
	// Bytes of objects that make a segment. Default: 256MiB.
	Bytes Size `yaml:"bytes"`
	// Grace is for how long objects of telemetry stay beside their segment, 72h or
	// more. Those of the audit trail stay for ever. Default: 96h.
	Grace time.Duration `yaml:"grace"`
}

// Verify is how it is proven that nothing was lost; see docs/verify.md.
type Verify struct {
	// Daily says that archivers look at each UTC day when it is over. Default: true.
	Daily bool `yaml:"daily"`
	// Expect are the publishers that must speak. Default: none.
	Expect []Expected `yaml:"expect"`
}

// Expected is a publisher that must speak.
type Expected struct {
	// Service is its name, as in its events.
	Service string `yaml:"service"`
	// Kind is log, metric or audit.
	Kind schemas.Kind `yaml:"kind"`
	// Every is the longest time between two events of it, 1s or more.
	Every time.Duration `yaml:"every"`
}

// S3 is a store with the interface of S3 that keeps If-None-Match.
type S3 struct {
	// Endpoint is https://host[:port]; http:// on loopback only. Default: none,
	// which stands for the directory.
	Endpoint string `yaml:"endpoint"`
	// Bucket holds the objects. It must exist.
	Bucket string `yaml:"bucket"`
	// AuditBucket holds those of the audit trail. Default: none, which stands for
	// the bucket of everything else.
	AuditBucket string `yaml:"audit_bucket"`
	// Region of the buckets. Default: none; it is asked for.
	Region string `yaml:"region"`
	// Prefix stands before the keys of all objects. Default: none.
	Prefix string `yaml:"prefix"`
	// AccessKey and SecretKey. Default: none; they are looked for in the variables
	// and files of the AWS tools, and asked for from the machine's role.
	AccessKey secret.Text `yaml:"access_key"`
	SecretKey secret.Text `yaml:"secret_key"`
	// CA is a PEM file with the authorities that may vouch for the endpoint.
	// Default: those of the system.
	CA Path `yaml:"ca"`
	// Lock has the store keep the audit trail from being deleted for as long as
	// archive.retention.audit says (Object Lock): none, governance or compliance. Its
	// bucket must have been made with it. Default: none.
	Lock string `yaml:"lock"`
	// ColdClass is a storage class that can be read at once, such as STANDARD_IA or
	// GLACIER_IR, for segments of telemetry that are ColdAfter old: millrace archive
	// lifecycle makes it a rule of their bucket. Default: none.
	ColdClass string `yaml:"cold_class"`
	// ColdAfter is when, and before archive.retention.telemetry. Default: 30d.
	ColdAfter Period `yaml:"cold_after"`
	// ConfirmCompliance confirms that nobody, whatever happens, can delete what is
	// locked so. Default: false.
	ConfirmCompliance bool `yaml:"confirm_compliance"`
}

// Publisher is how events come in from files.
type Publisher struct {
	// Service is whose events these are when they do not say. Default: none.
	Service string `yaml:"service"`
	// Zone is the time zone of timestamps without one. Default: UTC.
	Zone string `yaml:"zone"`
	// Follow are log files that are read as they grow. Default: none.
	Follow []Path `yaml:"follow"`
	// Spool is where events of the door go while the broker is away.
	Spool Spool `yaml:"spool"`
	// Audit is the audit trail of the application beside us.
	Audit Audit `yaml:"audit"`
}

// Spool is where events go that the broker does not take.
type Spool struct {
	// Enabled says whether there is one. Default: true.
	Enabled bool `yaml:"enabled"`
	// Dir is the directory, of one publisher alone. Default: spool in the data
	// directory.
	Dir Path `yaml:"dir"`
	// MaxBytes is what it holds before events are refused. Default: 1GB.
	MaxBytes Size `yaml:"max_bytes"`
}

// Audit is the audit trail of the application beside us.
type Audit struct {
	// Enabled says whether audit.log is followed, if there is a directory.
	// Default: true.
	Enabled bool `yaml:"enabled"`
	// Dir is the directory in which the application writes audit.log. Default:
	// none.
	Dir Path `yaml:"dir"`
}

// Metrics are those that are made from events; see docs/metrics.md.
type Metrics struct {
	// Endpoints are templates of paths, such as /patients/{id}, that requests are
	// counted under; every other path is "other". Default: none, which stands for
	// paths with their identifiers cut out, the first 200.
	Endpoints []string `yaml:"endpoints"`
	// Names of metric events that are shown. Default: system.cpu,
	// system.memory_percent, system.disk_percent and db.pool.
	Names []string `yaml:"names"`
}

// seedNames are variables that applications beside us have already, for the
// same things. A variable of ours wins.
var seedNames = map[string]string{
	"log.level":               "LOG_LEVEL",
	"nats.url":                "NATS_URL",
	"publisher.audit.enabled": "HIPAA_AUDIT_ENABLED",
	"publisher.audit.dir":     "HIPAA_AUDIT_LOG_DIR",
}

// Default is the configuration when nothing is set.
func Default() Config {
	return Config{
		Data:       "data",
		Log:        Log{Level: "info", Format: "auto"},
		NATS:       NATS{Listen: "127.0.0.1:4222"},
		Partitions: 4,
		Replicas:   1,
		Deployment: Deployment{Tick: time.Second, Lateness: time.Second, Delay: 5 * time.Second},
		Rules:      []Path{},
		Archive: Archive{
			Enabled: true, CutBytes: 10e6, S3: S3{Lock: "none", ColdAfter: Period{Days: 30}},
			Compact:   Compact{Enabled: true, Bytes: 256 << 20, Grace: 96 * time.Hour},
			Retention: Retention{Enabled: true, Telemetry: Period{Days: 90}, Audit: Period{Years: legalYears, Days: 30}, Grace: 96 * time.Hour},
		},
		Verify:    Verify{Daily: true, Expect: []Expected{}},
		Publisher: Publisher{Zone: "UTC", Follow: []Path{}, Spool: Spool{Enabled: true, MaxBytes: 1e9}, Audit: Audit{Enabled: true}},
		Metrics: Metrics{
			Endpoints: []string{},
			Names:     []string{"system.cpu", "system.memory_percent", "system.disk_percent", "db.pool"},
		},
	}
}

// Schema is the deployment as the control log holds it.
func (d Deployment) Schema() schemas.Deployment {
	return schemas.Deployment{
		Engine:   schemas.Engine,
		Tick:     d.Tick,
		Lateness: int64(d.Lateness / d.Tick),
		Delay:    int64(d.Delay / d.Tick),
	}
}

// Validate joins all faults; each names the field and the mend.
func (c Config) Validate() error {
	var faults []error
	fault := func(path, format string, args ...any) {
		faults = append(faults, &Fault{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	if c.Data == "" {
		fault("data", "empty; name a directory")
	}
	if _, err := c.Log.level(); err != nil {
		fault("log.level", "%v", err)
	}
	switch c.Log.Format {
	case "auto", "json", "console":
	default:
		fault("log.format", "%q: use auto, json or console", c.Log.Format)
	}
	for _, addr := range []struct{ path, value string }{{"http.addr", c.HTTP.Addr}, {"nats.listen", c.NATS.Listen}} {
		if _, _, err := net.SplitHostPort(addr.value); addr.value != "" && err != nil {
			fault(addr.path, "%q: use host:port, such as 127.0.0.1:8480", addr.value)
		}
	}
	if c.Partitions < 1 || c.Partitions > schemas.MaxPartitions {
		fault("partitions", "%d: use 1 to %d", c.Partitions, schemas.MaxPartitions)
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		fault("replicas", "%d: use 1, 3 or 5", c.Replicas)
	}
	tick := c.Deployment.Tick
	if tick < 100*time.Millisecond {
		fault("deployment.tick", "%v: use 100ms or more", tick)
	} else if d := c.Deployment.Lateness; d < 0 || d%tick != 0 {
		fault("deployment.lateness", "%v: use whole ticks of %v", d, tick)
	} else if d := c.Deployment.Delay; d <= 0 || d%tick != 0 {
		fault("deployment.delay", "%v: use whole ticks of %v, one or more", d, tick)
	}
	if c.Archive.CutBytes < 1<<10 {
		fault("archive.cut_bytes", "%v: use 1KiB or more", c.Archive.CutBytes)
	}
	if d := c.Archive.CutAge; d != 0 && d < time.Second {
		fault("archive.cut_age", "%v: use 1s or more, or 0s for the default", d)
	}
	if c.Archive.Compact.Bytes < 1<<20 {
		fault("archive.compact.bytes", "%v: use 1MiB or more", c.Archive.Compact.Bytes)
	}
	if d := c.Archive.Compact.Grace; d < replayWindow {
		fault("archive.compact.grace", "%v: use 72h or more, as long as streams keep what a lost end is compared with", d)
	}
	retentionFaults(c.Archive, fault)
	if c.Archive.S3 != Default().Archive.S3 && c.Archive.S3.Endpoint == "" {
		fault("archive.s3.endpoint", "empty; name the store, such as https://s3.eu-central-1.amazonaws.com")
	}
	if c.Archive.S3.Endpoint != "" && c.Archive.Dir != "" {
		fault("archive.dir", "%q beside archive.s3: name one of them", string(c.Archive.Dir))
	}
	for i, p := range c.Verify.Expect {
		path := fmt.Sprintf("verify.expect[%d]", i)
		if p.Service == "" {
			fault(path+".service", "missing; name the service, as in its events")
		}
		if p.Kind.Class() == "" {
			fault(path+".kind", "%q: use log, metric or audit", p.Kind)
		}
		if p.Every < time.Second {
			fault(path+".every", "%v: use 1s or more", p.Every)
		}
	}
	if c.Publisher.Spool.MaxBytes < 2<<20 {
		fault("publisher.spool.max_bytes", "%v: use 2MiB or more", c.Publisher.Spool.MaxBytes)
	}
	if _, err := time.LoadLocation(c.Publisher.Zone); err != nil || c.Publisher.Zone == "Local" {
		fault("publisher.zone", "%q: use UTC or a name such as Europe/Vienna", c.Publisher.Zone)
	}
	sinkFaults(c.Sinks, fault)
	return errors.Join(errors.Join(faults...), c.Notify.Validate())
}

func retentionFaults(c Archive, fault func(path, format string, args ...any)) {
	r := c.Retention
	if r.Audit.shorter(legalYears) && !r.ConfirmShortAudit {
		fault("archive.retention.audit", "%v: the audit trail is kept for %d years by 45 CFR 164.316(b)(2)(i); use %dy or more, "+
			"or confirm with archive.retention.confirm_short_audit: true", r.Audit, legalYears, legalYears)
	}
	switch lock := c.S3.Lock; {
	case lock != "none" && lock != "governance" && lock != "compliance":
		fault("archive.s3.lock", "%q: use none, governance or compliance", lock)
	case lock == "compliance" && !c.S3.ConfirmCompliance:
		fault("archive.s3.lock", "compliance: nobody could delete the audit trail for %v, and nothing shortens that; use governance, "+
			"or confirm with archive.s3.confirm_compliance: true", r.Audit)
	case lock != "none" && r.Audit == (Period{}):
		fault("archive.s3.lock", "%s: archive.retention.audit is forever, and a lock ends; give it years and days", lock)
	}
	coldFaults(c, fault)
	if r.Grace < time.Hour {
		fault("archive.retention.grace", "%v: use 1h or more, so that readers come to their end", r.Grace)
	}
	if c.Enabled && r.Enabled && !c.Compact.Enabled {
		fault("archive.retention.enabled", "true: what is deleted are segments; set archive.compact.enabled: true, too, or this to false")
	}
}

func coldFaults(c Archive, fault func(path, format string, args ...any)) {
	class, after, kept := c.S3.ColdClass, c.S3.ColdAfter, c.Retention.Telemetry
	if class == "" {
		return
	}
	if strings.ToUpper(class) != class || class == "GLACIER" || class == "DEEP_ARCHIVE" {
		fault("archive.s3.cold_class", "%q: use a class that can be read at once, such as STANDARD_IA or GLACIER_IR", class)
	}
	switch {
	case after == (Period{}):
		fault("archive.s3.cold_after", "%v: nothing would ever be moved: use a period such as 30d, or leave out archive.s3.cold_class", after)
	case kept != (Period{}) && after.AtLeast() >= kept.AtLeast():
		fault("archive.s3.cold_after", "%v: use less than archive.retention.telemetry, which is %v", after, kept)
	}
}
