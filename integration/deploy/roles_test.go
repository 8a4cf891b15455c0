package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dermai/millrace/internal/testenv"
)

// TestRoles sets a cluster up, lets each daemon do its work with the rights of its
// role, and then tries what each role may not.
func TestRoles(t *testing.T) {
	c := startCluster(t)
	c.bin = testenv.Build(t, testenv.Programs)
	t.Run("work", func(t *testing.T) {
		door := c.work(t)
		t.Run("consume", func(t *testing.T) { c.consume(t, door) })
		t.Run("silence", func(t *testing.T) { c.silence(t, door) })
		t.Run("redrive", func(t *testing.T) { c.redrive(t) })
		t.Run("outage", func(t *testing.T) { c.outage(t, door) })
	})
	t.Run("matrix", func(t *testing.T) { c.matrix(t) })
	t.Run("without a certificate", func(t *testing.T) {
		if nc, err := nats.Connect(c.url("operator"), nats.RootCAs(c.file("ca.pem"))); err == nil {
			nc.Close()
			t.Error("the password alone lets in")
		}
	})
}

// work lets events become an alert, a message and objects of the archive.
func (c *cluster) work(t *testing.T) (door string) {
	c.write(t, "millrace.yaml", []byte(`
replicas: 3
archive: {cut_age: 1s}
sinks:
- name: kept
  services: [clinic]
  file: {}
receivers:
- name: outbox
  outbox: {}
route: {receiver: outbox}
`))
	c.run(t, "operator", "apply")
	door = c.start(t, "publisher")
	processor := c.start(t, "processor")
	c.start(t, "archiver")
	testenv.Eventually(t, "the broker knows the sink", func() error { // which misses nothing from then on
		metrics, err := testenv.Get("http://" + processor + "/metrics")
		if err == nil && !bytes.Contains(metrics, []byte(`millrace_consumer_lag_messages{consumer="sink-kept",stream="REDRIVE"}`)) {
			err = errors.New("no lag is shown")
		}
		return err
	})

	c.post(t, door, failures("clinic")+`{"service":"clinic","user":"u","action":"read","resource":"r","success":true}`+"\n")
	for what, pattern := range map[string]string{
		"the alert is told":         "data/outbox/*",
		"the telemetry is archived": "data/archive/l0/telemetry/EVENTS_*/*/*/*",
		"the audit is archived":     "data/archive/l0/audit/AUDIT/*/*/*",
	} {
		testenv.Eventually(t, what, func() error {
			found, err := filepath.Glob(c.file(pattern))
			if err == nil && len(found) == 0 {
				err = errors.New("no such file")
			}
			return err
		})
	}
	var alert struct{ Alert string }
	if out := c.run(t, "reader", "alerts", "ls", "-o", "json"); json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &alert) != nil || alert.Alert != "HighErrorRate{service=clinic}" {
		t.Errorf("a reader sees %s", out)
	}
	testenv.Eventually(t, "the sink has its events", func() error {
		kept, err := os.ReadFile(c.file("data/files/kept/events.ndjson"))
		if n := bytes.Count(kept, []byte("\n")); err == nil && n != 101 {
			err = fmt.Errorf("%d events", n)
		}
		return err
	})
	return door
}

// failures are a hundred requests of a service, of which every other one failed.
func failures(service string) string {
	var body strings.Builder
	for i := range 100 {
		fmt.Fprintf(&body, `{"service":%q,"message":"API request","status_code":%d}`+"\n", service, 200+300*(i%2))
	}
	return body.String()
}

// post gives events to the door as soon as it takes them.
func (c *cluster) post(t *testing.T, door, body string) {
	t.Helper()
	testenv.Eventually(t, "the door takes events", func() error {
		resp, err := http.Post("http://"+door+"/v1/events", "application/x-ndjson", strings.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// subjects are what each role is tried on, with the roles that may publish there.
// The payload is no valid request, so that nothing happens where it is allowed.
var subjects = map[string]string{
	"events.0.log.clinic.lane":                    "publisher publisher-clinic operator",
	"events.3.metric.clinic.lane":                 "publisher publisher-clinic operator",
	"events.0.log.billing.lane":                   "publisher operator",
	"audit.clinic.lane":                           "publisher publisher-clinic operator",
	"audit.billing.lane":                          "publisher operator",
	"ingest.log.clinic":                           "publisher-clinic",
	"ingest.audit.clinic":                         "publisher-clinic",
	"ingest.log.billing":                          "",
	"events.0.tick":                               "processor operator",
	"audit.tick":                                  "processor operator",
	"audit.millrace.l1":                           "publisher archiver operator",
	"partials.0":                                  "processor operator",
	"partials.audit":                              "processor operator",
	"alerts.telemetry":                            "processor operator",
	"alerts.audit":                                "processor operator",
	"checkpoints.telemetry":                       "processor operator",
	"control":                                     "processor operator",
	"notify.outbox":                               "processor operator",
	"deliveries.outbox":                           "processor operator",
	"quarantine.reduce":                           "processor",
	"quarantine.consume":                          "processor consumer-fraud",
	"redrive.outbox.x":                            "operator",
	"redrive.consume.fraud.x":                     "operator",
	"redrive.done.reduce.x":                       "operator",
	"$KV.members.x":                               "processor operator",
	"$KV.silences.x":                              "operator",
	"$KV.acks.x":                                  "operator",
	"$JS.API.INFO":                                "processor archiver reader operator",
	"$JS.API.STREAM.INFO.EVENTS_0":                "publisher processor archiver reader consumer-fraud operator",
	"$JS.API.STREAM.INFO.EVENTS_4":                "processor archiver consumer-fraud operator",
	"$JS.API.STREAM.INFO.AUDIT":                   "publisher processor archiver operator",
	"$JS.API.STREAM.CREATE.X":                     "operator",
	"$JS.API.STREAM.UPDATE.AUDIT":                 "operator",
	"$JS.API.STREAM.DELETE.AUDIT":                 "operator",
	"$JS.API.STREAM.PURGE.AUDIT":                  "archiver operator",
	"$JS.API.STREAM.PURGE.EVENTS_0":               "archiver operator",
	"$JS.API.STREAM.PURGE.PARTIALS":               "processor operator",
	"$JS.API.STREAM.PURGE.ALERTS":                 "archiver operator",
	"$JS.API.STREAM.PURGE.CONTROL":                "archiver operator",
	"$JS.API.STREAM.PURGE.KV_silences":            "processor operator",
	"$JS.API.STREAM.PURGE.QUARANTINE":             "operator",
	"$JS.API.STREAM.MSG.GET.AUDIT":                "publisher processor archiver operator",
	"$JS.API.STREAM.MSG.GET.EVENTS_0":             "publisher processor archiver operator",
	"$JS.API.STREAM.MSG.GET.QUARANTINE":           "processor archiver operator",
	"$JS.API.STREAM.MSG.DELETE.AUDIT":             "operator",
	"$JS.API.STREAM.SNAPSHOT.AUDIT":               "operator",
	"$JS.API.STREAM.LEADER.STEPDOWN.X":            "operator",
	"$JS.API.CONSUMER.CREATE.AUDIT.x":             "processor archiver operator",
	"$JS.API.CONSUMER.CREATE.EVENTS_0.x":          "processor archiver reader operator",
	"$JS.API.CONSUMER.DURABLE.CREATE.AUDIT.x":     "operator",
	"$JS.API.CONSUMER.MSG.NEXT.AUDIT.x":           "processor archiver operator",
	"$JS.API.CONSUMER.MSG.NEXT.EVENTS_0.x":        "processor archiver reader operator",
	"$JS.API.DIRECT.GET.KV_silences.$KV.silences": "processor operator",
	"$JS.API.CONSUMER.CREATE.AUDIT.fraud":         "processor archiver operator",
	"$JS.API.CONSUMER.CREATE.AUDIT.fraud.x":       "processor archiver operator",
	"$JS.API.CONSUMER.CREATE.EVENTS_0.fraud":      "processor archiver reader consumer-fraud operator",
	"$JS.API.CONSUMER.CREATE.EVENTS_0.other":      "processor archiver reader operator",
	"$JS.API.CONSUMER.CREATE.REDRIVE.fraud.redrive.consume.fraud.x":              "processor archiver consumer-fraud operator",
	"$JS.API.CONSUMER.CREATE.REDRIVE.fraud-alerts.redrive.alerts.fraud-alerts.x": "processor archiver consumer-fraud operator",
	"$JS.API.CONSUMER.CREATE.REDRIVE.fraud.redrive.consume.other.x":              "processor archiver operator",
	"$JS.API.CONSUMER.CREATE.REDRIVE.fraud":                                      "processor archiver operator",
	"$JS.API.CONSUMER.CREATE.ALERTS.fraud-alerts":                                "processor archiver reader consumer-fraud operator",
	"$JS.API.CONSUMER.CREATE.ALERTS.fraud":                                       "processor archiver reader operator",
	"$JS.API.CONSUMER.DELETE.EVENTS_0.fraud":                                     "processor archiver reader operator",
	"$JS.API.CONSUMER.MSG.NEXT.EVENTS_0.fraud":                                   "processor archiver reader consumer-fraud operator",
	"$JS.ACK.AUDIT.x.1.1.1.1.1":                                                  "processor operator",
	"$JS.ACK.EVENTS_0.fraud.1.1.1.1.1":                                           "processor consumer-fraud operator",
	"$SYS.REQ.SERVER.PING":                                                       "",
	"_INBOX.x":                                                                   "",
	"_INBOX_operator.x":                                                          "",
	"_INBOX_reader.x":                                                            "",
	"other":                                                                      "",
}

// matrix tries each role on each subject, and on the answers and messages that
// others get.
func (c *cluster) matrix(t *testing.T) {
	for role, inbox := range roles {
		nc, err := nats.Connect(c.url(role), nats.RootCAs(c.file("ca.pem")), nats.ClientCert(c.file("client.pem"), c.file("client-key.pem")),
			nats.CustomInboxPrefix(inbox), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		// denied tells whether the server's last complaint is about the subject; it
		// comes before the answer to a flush.
		denied := func(subject string) bool {
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			return nc.LastError() != nil && strings.Contains(nc.LastError().Error(), `"`+subject+`"`)
		}
		for subject, allowed := range subjects {
			if err := nc.Publish(subject, []byte("{")); err != nil {
				t.Fatal(err)
			}
			if may := !denied(subject); may != strings.Contains(" "+allowed+" ", " "+role+" ") {
				t.Errorf("%s may publish to %s: %t", role, subject, may)
			}
		}
		listens := []string{inbox + ".>", ">", "_INBOX.>", "events.>", "audit.>", "alerts.>", "notify.>", "$JS.API.>", "$KV.>", "$SYS.>"}
		for other, theirs := range roles {
			if other != role {
				listens = append(listens, theirs+".>")
			}
		}
		for i, subject := range listens {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			if may := !denied(subject); may != (i == 0) {
				t.Errorf("%s may listen to %s: %t", role, subject, may)
			}
		}
	}
}
