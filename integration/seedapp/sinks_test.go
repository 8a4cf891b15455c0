package seedapp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// eventSinks are one of every type of sink.
type eventSinks struct {
	sentry *sinkstest.Recorder
	files  string // directory of the file sink
	trail  string // directory of the audit file
}

func newEventSinks(t *testing.T) *eventSinks {
	s := &eventSinks{sentry: sinkstest.NewRecorder(t), files: t.TempDir(), trail: t.TempDir()}
	s.sentry.Yes = `{}`
	return s
}

func (s *eventSinks) configuration() string {
	return fmt.Sprintf(`sinks:
- {name: copy, file: {dir: %s}}
- {name: trail, kinds: [audit], audit_file: {dir: %s}}
- {name: errors, kinds: [log], sentry: {dsn: %s/43}}
`, s.files, s.trail, strings.Replace(s.sentry.URL, "http://", "http://key@", 1))
}

// begun waits until the sinks take what is stored from now on. The broker
// remembers their place in REDRIVE last.
func (s *eventSinks) begun(t *testing.T, processor *testenv.Process) {
	t.Helper()
	testenv.Eventually(t, "the sinks begin", func() error {
		metrics, err := testenv.Get("http://" + processor.HTTP + "/metrics")
		for _, name := range []string{"copy", "trail", "errors"} {
			if !bytes.Contains(metrics, []byte(`millrace_consumer_lag_messages{consumer="sink-`+name+`",stream="REDRIVE"}`)) {
				err = errors.Join(err, errors.New(name))
			}
		}
		return err
	})
}

// sunk: each sink has what the application logged, once.
func (d *deployment) sunk(events []schemas.Event) {
	for what, compare := range map[string]func([]schemas.Event) error{
		"the file has every event": d.copied, "the audit file has the trail": d.trailed, "Sentry has every error": d.reported,
	} {
		testenv.Eventually(d.t, what, func() error { return compare(events) })
	}
}

// copied: the file sink has every event as it is stored, patient data too, which
// docs/sinks.md says.
func (d *deployment) copied(events []schemas.Event) error {
	text, err := os.ReadFile(filepath.Join(d.sinks.files, "events.ndjson"))
	if err != nil {
		return err
	}
	var got []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		position, event, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), `{"position":`), ",")
		if seen[position] {
			return fmt.Errorf("%s stands there twice", position)
		}
		seen[position] = true
		event = strings.Replace(event, `"id":`+position+`,`, "", 1) // which the application did not give
		got = append(got, "{"+event)
	}
	slices.Sort(got)
	if diff := cmp.Diff(canonical(d.t, events), got); diff != "" {
		return fmt.Errorf("(-logged +in the file):\n%.3000s", diff)
	}
	return nil
}

// trailed: the audit file says what the application's own says, in its order. Of
// what was planted it therefore has what the details of its two events have, and
// the name of a resource, and nothing that only logs have.
func (d *deployment) trailed([]schemas.Event) error {
	lines := func(dir string) (list []map[string]any, text string, err error) {
		b, err := os.ReadFile(filepath.Join(dir, "audit.log"))
		for line := range bytes.Lines(b) {
			var e map[string]any
			err = errors.Join(err, json.Unmarshal(line, &e))
			list = append(list, e)
		}
		return list, string(b), err
	}
	want, _, err1 := lines(filepath.Join(d.dir, "logs", "audit"))
	got, text, err2 := lines(d.sinks.trail)
	err := errors.Join(err1, err2)
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 2 {
		err = errors.Join(err, fmt.Errorf("%d events (-the application's +the sink's):\n%s", len(want), diff))
	}
	of := []string{"eczema", "psoriasis", "patient_456", "Erika Muster", "987-65-4321", "melanoma", "basal cell"}
	for _, p := range patient {
		if strings.Contains(text, p) != slices.Contains(of, p) {
			err = errors.Join(err, fmt.Errorf("the audit file holds %q: %t", p, !slices.Contains(of, p)))
		}
	}
	return err
}

// reported: Sentry got each error, by its type, and none twice. What the messages
// say of patients is for discreet to look at.
func (d *deployment) reported(events []schemas.Event) error {
	var want, got []string
	for _, e := range events {
		switch {
		case e.Kind == schemas.KindLog && e.Error != nil && e.Error.Type != "":
			want = append(want, e.Error.Type)
		case e.Kind == schemas.KindLog && (e.Level == "ERROR" || e.Level == "CRITICAL"):
			want = append(want, e.Level+" from "+e.Logger)
		}
	}
	ids := map[string]bool{}
	for _, q := range d.sinks.sentry.Requests() {
		var e struct {
			ID        string `json:"event_id"`
			Message   string
			Exception struct{ Values []struct{ Type string } }
		}
		part := bytes.SplitN(q.Body, []byte("\n"), 3) // of an envelope: two headers, and the event
		if err := json.Unmarshal(part[len(part)-1], &e); err != nil {
			return err
		}
		if ids[e.ID] {
			return fmt.Errorf("%s was sent twice", e.ID)
		}
		ids[e.ID] = true
		if n := len(e.Exception.Values); n > 0 {
			e.Message = e.Exception.Values[n-1].Type
		}
		got = append(got, e.Message)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-logged +sent):\n%s", diff)
	}
	return nil
}
