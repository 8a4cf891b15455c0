package main

import (
	"fmt"
	"math/rand"
	"strings"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// canary is patient data that each event carries. It may be in the streams and in
// the archive, and nowhere else.
func canary(seed int64) string { return fmt.Sprintf("Zwetschkenbaum-%d", seed) }

// eventID names an event by its writer and its number.
func eventID(writer string, n int) string { return fmt.Sprintf("%s-%06d", writer, n) }

// rules that the run's alerts come from: those of the demo, and one on the audit
// trail, so that both evaluators have work.
const auditRules = `
groups:
  - name: audit
    rules:
      - alert: DeniedAccess
        on: audit
        where: not success
        by: [service]
        count: true
        window: 8s
        fire: "> 3"
        for: 1s
`

// makeEvent makes an event of a writer. Errors come in waves, so that alerts fire
// and end; some events are late.
func makeEvent(seed int64, rng *rand.Rand, writer string, n int, now time.Time) schemas.Event {
	if rng.Intn(10) == 0 {
		now = now.Add(-time.Duration(rng.Intn(5000)) * time.Millisecond)
	}
	trouble := now.Unix()/3%2 == 1
	e := schemas.Event{ID: eventID(writer, n), Time: now.UnixNano(), Service: []string{"api", "billing"}[rng.Intn(2)]}
	e.Attributes = map[string]any{"patient": canary(seed)}
	switch rng.Intn(6) {
	case 0:
		success := !trouble
		e.Kind, e.User, e.Action, e.Success = schemas.KindAudit, fmt.Sprintf("u%d", rng.Intn(3)), "READ", &success
		e.Resource = proof(e.ID)
	case 1:
		e.Kind, e.Name, e.Type, e.Instance = schemas.KindMetric, "system.cpu", "gauge", "i1"
		e.Value = float64(60 + rng.Intn(40))
	default:
		status := 200
		if trouble && rng.Intn(4) == 0 {
			status = 500
		}
		e.Kind, e.Level, e.Message = schemas.KindLog, "INFO", "API request"
		e.Attributes["status_code"], e.Attributes["duration_ms"] = float64(status), float64(rng.Intn(900))
	}
	e.Attributes["proof"] = proof(e.ID)
	return e
}

// proof is what an event says of its own id, so that a reader sees whether what it
// has is what was sent.
func proof(id string) string { return "proof of " + id }

// demoRules are the rules of the demo, with HighErrorRate above a share of so many
// percent.
func demoRules(share int) string {
	return strings.Replace(rules.Demo().Text, `fire: "> 5%"`, fmt.Sprintf(`fire: "> %d%%"`, share), 1)
}
