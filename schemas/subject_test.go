package schemas_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

func TestTokens(t *testing.T) {
	for name, want := range map[string]string{
		"api":                   "api",
		"A-z_9":                 "A-z_9",
		"a.b":                   "a%2Eb",
		"a b":                   "a%20b",
		"*":                     "%2A",
		">":                     "%3E",
		"100%":                  "100%25",
		"ž":                     "%C5%BE",
		"\x00\r\n":              "%00%0D%0A",
		"\xff":                  "%FF",
		strings.Repeat("x", 63): strings.Repeat("x", 63),
		strings.Repeat(".", 21): strings.Repeat("%2E", 21),
	} {
		got, err := schemas.Token(name)
		if err != nil || got != want {
			t.Errorf("token of %q: %q, %v; want %q", name, got, err, want)
		}
		if back, err := schemas.Untoken(got); err != nil || back != name {
			t.Errorf("name of %q: %q, %v; want %q", got, back, err, name)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 64), strings.Repeat(".", 22)} {
		if got, err := schemas.Token(name); err == nil {
			t.Errorf("token of %q: %q", name, got)
		}
	}
	for _, token := range []string{"", "a.b", "a b", "%", "%4", "%zz", "%2e", "%41", "*", ">", "ž", "a\n", strings.Repeat("x", 64)} {
		if got, err := schemas.Untoken(token); err == nil {
			t.Errorf("name of %q: %q", token, got)
		}
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		subject string
		want    schemas.Subject
	}{
		{"events.0.log.api.l1", schemas.Subject{Kind: schemas.KindLog, Service: "api", Lane: "l1"}},
		{"events.12.metric.a%2Eb.l-_9", schemas.Subject{Partition: 12, Kind: schemas.KindMetric, Service: "a.b", Lane: "l-_9"}},
		{"events.3.log.tick.tick", schemas.Subject{Partition: 3, Kind: schemas.KindLog, Service: "tick", Lane: "tick"}},
		{"audit.api.l1", schemas.Subject{Partition: schemas.Audit, Kind: schemas.KindAudit, Service: "api", Lane: "l1"}},
		{"audit.tick.l1", schemas.Subject{Partition: schemas.Audit, Kind: schemas.KindAudit, Service: "tick", Lane: "l1"}},
	} {
		s, err := schemas.ParseSubject(c.subject)
		if diff := cmp.Diff(c.want, s); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", c.subject, err, diff)
		}
		back, err := schemas.FrameSubject(s.Partition, s.Kind, s.Service, s.Lane)
		if err != nil || back != c.subject {
			t.Errorf("%s: written %s, %v", c.subject, back, err)
		}
		if stream := schemas.StreamOf(c.subject); stream != s.Partition.Stream() {
			t.Errorf("%s: is in %s", c.subject, stream)
		}
	}
	for subject, want := range map[string]schemas.Subject{
		"events.0.tick":       {Tick: true},
		"events.7.tick":       {Partition: 7, Tick: true},
		"audit.tick":          {Partition: schemas.Audit, Tick: true},
		"ingest.log.api":      {Kind: schemas.KindLog, Service: "api", Ingest: true},
		"ingest.metric.a%20b": {Kind: schemas.KindMetric, Service: "a b", Ingest: true},
		"ingest.audit.api":    {Partition: schemas.Audit, Kind: schemas.KindAudit, Service: "api", Ingest: true},
	} {
		s, err := schemas.ParseSubject(subject)
		if diff := cmp.Diff(want, s); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", subject, err, diff)
		}
		if want.Tick && want.Partition.Ticks() != subject {
			t.Errorf("%s: ticks are on %s", subject, want.Partition.Ticks())
		}
	}
}

func TestSubjectsRefused(t *testing.T) {
	for _, subject := range []string{
		"", "events", "events.0", "events.0.log", "events.0.log.api", "events.0.log.api.l1.x", "events.0.tock",
		"events.00.log.api.l1", "events.-1.log.api.l1", "events.1024.log.api.l1", "events.x.tick", "events.audit.log.api.l1", "events.audit.tick",
		"events.0.audit.api.l1", "events.0.trace.api.l1", "events.0..api.l1", "events.0.log..l1", "events.0.log.api.", "events.0.log.a%2eb.l1",
		"events.0.log.api.l%20", "events.0.log.a*.l1", "events.0.log.a\nb.l1",
		"audit", "audit.api", "audit.api.l1.x", "audit.tick.l1.x", "events.0.tick.api.l1", "events.0.tick.api", "audit..l1", "audit.api.>", "audit.ticks",
		"ingest.log", "ingest.trace.api", "ingest.log.api.l1", "ingest.log.", "ingest.log.%", "ingest.log." + strings.Repeat("x", 64),
		"partials.0", "alerts.audit", "EVENTS.0.log.api.l1", " events.0.tick",
	} {
		if s, err := schemas.ParseSubject(subject); err == nil {
			t.Errorf("%q: %+v", subject, s)
		} else if s != (schemas.Subject{}) {
			t.Errorf("%q: refused, but half read: %+v", subject, s)
		}
	}
	for _, c := range []struct {
		p             schemas.Partition
		kind          schemas.Kind
		service, lane string
	}{
		{0, schemas.KindAudit, "api", "l"}, {schemas.Audit, schemas.KindLog, "api", "l"}, {0, "trace", "api", "l"}, {0, "", "api", "l"},
		{-2, schemas.KindLog, "api", "l"}, {schemas.MaxPartitions, schemas.KindLog, "api", "l"},
		{0, schemas.KindLog, "", "l"}, {0, schemas.KindLog, strings.Repeat("x", 64), "l"}, {0, schemas.KindLog, "api", ""}, {0, schemas.KindLog, "api", "a.b"}, {0, schemas.KindLog, "api", "*"},
	} {
		if s, err := schemas.FrameSubject(c.p, c.kind, c.service, c.lane); err == nil {
			t.Errorf("%+v: %s", c, s)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	for _, s := range []string{"events.0.log.api.l1", "audit.tick", "audit.tick.l", "events.3.tick", "ingest.log.a%2Eb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		s, err := schemas.ParseSubject(subject)
		if err != nil {
			return
		}
		var again string
		switch {
		case s.Tick:
			again = s.Partition.Ticks()
		case s.Ingest:
			token, err := schemas.Token(s.Service)
			if err != nil {
				t.Fatal(err)
			}
			again = "ingest." + string(s.Kind) + "." + token
		default:
			if again, err = schemas.FrameSubject(s.Partition, s.Kind, s.Service, s.Lane); err != nil {
				t.Fatal(err)
			}
		}
		if again != subject {
			t.Fatalf("%q means %+v, which is %q", subject, s, again)
		}
	})
}
