package examples_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
)

var update = flag.Bool("update", false, "write the logs")

// hour is an hour of a clinic's web application: calm, then for some minutes a
// database that is slow and loses connections, on a machine that is busy.
type hour struct {
	rand               *rand.Rand
	app, audit, access bytes.Buffer
}

func newHour() *hour {
	h := &hour{rand: rand.New(rand.NewPCG(20260302, 1))}
	start := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	check := start.Add(20 * time.Minute) // every five minutes
	h.record(start, "INFO", "app", "Application started", `"environment": "production"`)
	for now := start; now.Before(start.Add(time.Hour)); now = now.Add(time.Duration(500+h.rand.IntN(8000)) * time.Millisecond) {
		minute := int(now.Sub(start).Minutes())
		bad := minute >= 20 && minute < 30
		for !check.After(now) && minute < 35 {
			h.record(check, "WARNING", "app.health", "System health degraded", fmt.Sprintf(`"cpu": %.1f, "memory_percent": %.1f, "disk_percent": 61.3, "healthy": false`, 84+float64(h.rand.IntN(150))/10, 71+float64(h.rand.IntN(40))/10))
			check = check.Add(5 * time.Minute)
		}
		h.request(now, bad)
		if h.rand.IntN(5) == 0 {
			h.audited(now)
		}
		if bad && h.rand.IntN(8) == 0 {
			took := 1000 + float64(h.rand.IntN(400000))/100
			h.record(now, "WARNING", "app.db", "Slow database query", fmt.Sprintf(`"query": "SELECT * FROM appointments WHERE day = %%(day)s ORDER BY starts_at", "duration_ms": %.2f, "parameters": "{'day': '2026-03-02'}"`, took))
		}
	}
	h.record(start.Add(time.Hour), "INFO", "app.jobs", "Job finished", `"job": "nightly-backup", "duration_ms": 81022.4, "exit_code": 0`)
	return h
}

// record writes what python-json-logger writes with the format "%(asctime)s
// %(levelname)s %(name)s %(message)s".
func (h *hour) record(now time.Time, level, logger, message, extra string) {
	fmt.Fprintf(&h.app, `{"asctime": %q, "levelname": %q, "name": %q, "message": %q, "taskName": null`, strings.Replace(now.Format("2006-01-02 15:04:05.000"), ".", ",", 1), level, logger, message)
	if extra != "" {
		h.app.WriteString(", " + extra)
	}
	h.app.WriteString("}\n")
}

const traceback = `Traceback (most recent call last):
  File "/srv/app/api/appointments.py", line 88, in create_appointment
    appointment = create_appointment_in_db(data)
  File "/usr/lib/python3/dist-packages/sqlalchemy/engine/default.py", line 736, in do_execute
    cursor.execute(statement, parameters)
psycopg2.OperationalError: server closed the connection unexpectedly`

func (h *hour) request(now time.Time, bad bool) {
	method, path := "GET", "/api/v1/appointments"
	switch h.rand.IntN(6) {
	case 0:
		method = "POST"
	case 1, 2:
		path = fmt.Sprintf("/api/v1/patients/%d", 100+h.rand.IntN(40))
	case 3:
		path = fmt.Sprintf("/api/v1/images/%d", 1000+h.rand.IntN(400))
	}
	status, took := 200, 8+float64(h.rand.IntN(20000))/100
	if method == "POST" {
		status = 201
	}
	if h.rand.IntN(30) == 0 {
		status = 404
	}
	if bad {
		took += float64(h.rand.IntN(320000)) / 100
		if h.rand.IntN(4) == 0 {
			status = 500
		}
	}
	client := fmt.Sprintf("10.20.%d.%d", h.rand.IntN(4), 1+h.rand.IntN(60))
	if status == 500 {
		stack, err := json.Marshal(traceback)
		if err != nil {
			panic(err)
		}
		h.record(now, "ERROR", "app", "Failed to create appointment", fmt.Sprintf(`"exc_info": %s, "duration_ms": %.2f, "error": "server closed the connection unexpectedly"`, stack, took))
	}
	h.record(now, "INFO", "app", "API request", fmt.Sprintf(`"method": %q, "path": %q, "status_code": %d, "duration_ms": %.2f, "client": %q`, method, path, status, took, client))
	fmt.Fprintf(&h.access, "%s - - [%s] \"%s %s HTTP/1.1\" %d %d \"https://clinic.example/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\" %.3f\n",
		client, now.Format("02/Jan/2006:15:04:05 -0700"), method, path, status, 200+h.rand.IntN(9000), took/1000)
}

// audited writes the record of the application's log_audit_event.
func (h *hour) audited(now time.Time) {
	action := []string{"READ", "READ", "READ", "UPDATE", "CREATE"}[h.rand.IntN(5)]
	field := []string{"diagnosis", "medication", "next_visit", "contact"}[h.rand.IntN(4)]
	fmt.Fprintf(&h.audit, `{"timestamp": %q, "user": "doc_%d", "action": %q, "resource": "patient_%d", "details": {"field": %q}, "success": %t}`+"\n",
		now.Format("2006-01-02T15:04:05.000Z"), 100+h.rand.IntN(12), action, 100+h.rand.IntN(40), field, h.rand.IntN(40) > 0)
}

func TestLogs(t *testing.T) {
	h := newHour()
	for _, log := range []struct {
		path string
		text []byte
		kind schemas.Kind // of every line; "": not ours
	}{
		{"logs/app.log", h.app.Bytes(), schemas.KindLog},
		{"logs/audit.log", h.audit.Bytes(), schemas.KindAudit},
		{"logs/access.log", h.access.Bytes(), ""},
	} {
		if *update {
			if err := os.WriteFile(log.path, log.text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		there, err := os.ReadFile(log.path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(there, log.text) {
			t.Errorf("%s is not what this test makes; -update makes it anew", log.path)
		}
		seen := map[string]int{}
		last := int64(0)
		for line := range bytes.Lines(log.text) {
			if log.kind == "" {
				break
			}
			e, err := sources.Normalize(line, sources.Defaults{Service: "clinic"})
			if err != nil {
				t.Fatalf("%s: %s: %v", log.path, line, err)
			}
			if e.Kind != log.kind || e.Time == 0 || e.Time < last {
				t.Errorf("%s: %s: a %s of time %d", log.path, line, e.Kind, e.Time)
			}
			last = e.Time
			for _, name := range []string{"asctime", "levelname", "name", "taskName", "exc_info"} {
				if _, ok := e.Attributes[name]; ok {
					t.Errorf("%s: %s: %s is left as an attribute", log.path, line, name)
				}
			}
			if e.Error != nil && (e.Error.Type != "psycopg2.OperationalError" || e.Error.Stack != traceback) {
				t.Errorf("%s: %s: error %+v", log.path, line, e.Error)
			}
			seen[e.Message]++
		}
		for _, message := range []string{"API request", "Slow database query", "System health degraded", "Failed to create appointment", "Job finished"} {
			if log.kind == schemas.KindLog && seen[message] == 0 {
				t.Errorf("%s: no %q", log.path, message)
			}
		}
	}
}
