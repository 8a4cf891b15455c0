package sinks_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
)

func eventSink(t testing.TB, kind, options string, env sinks.Env) sinks.EventSink {
	t.Helper()
	s, err := sinks.BuiltinEvents()[kind]("team", notify.NewOptions([]byte(options)), env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// logged are n events from a number on.
func logged(from, n int) []sinks.Delivered {
	var out []sinks.Delivered
	for i := from; i < from+n; i++ {
		out = append(out, sinks.Delivered{Stream: "EVENTS_p03", Seq: uint64(i/10) + 1, Index: i % 10, Time: 1772366400e9, Event: &schemas.Event{
			Time: 1772366400e9, Kind: schemas.KindLog, Service: "api", Level: "ERROR", Message: "event " + strconv.Itoa(i) + " \u2028<&>",
		}})
	}
	return out
}

// lines are those of all files of a directory, from the oldest on.
func lines(t *testing.T, dir, stem string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, stem+"*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.Replace(a, stem+".", stem+"~", 1), strings.Replace(b, stem+".", stem+"~", 1))
	})
	var out []string
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = f.Close()
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s: torn at its end", name)
		}
		out = append(out, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// childDir makes a process of this test binary one that writes to a directory
// until it is killed, from the event that childFrom says.
const childDir, childFrom, childEnd = "MILLRACE_TEST_FILE_DIR", "MILLRACE_TEST_FILE_FROM", 6000

// TestEventFileChild is no test: it is what TestEventFileKill kills.
func TestEventFileChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	from, err := strconv.Atoi(os.Getenv(childFrom))
	if err != nil {
		t.Fatal(err)
	}
	s := eventSink(t, "file", "{max_bytes: 20000, keep: 1000, dir: "+dir+"}", sinks.Env{})
	for from < childEnd {
		n := min(1+rand.IntN(40), childEnd-from)
		if err := s.Write(t.Context(), logged(from, n)); err != nil {
			t.Fatal(err)
		}
		from += n
		fmt.Printf("acked %d\n", from)
	}
}

// TestEventFileKill kills a writer again and again; what was not acknowledged
// comes again.
func TestEventFileKill(t *testing.T) {
	dir := t.TempDir()
	acked, kills := 0, 0
	for acked < childEnd {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEventFileChild$")
		child.Env = append(os.Environ(), childDir+"="+dir, childFrom+"="+strconv.Itoa(acked))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		patience := 1 + rand.IntN(8) // acknowledgements that it may live for
		for scan := bufio.NewScanner(out); scan.Scan(); {
			n, err := strconv.Atoi(strings.TrimPrefix(scan.Text(), "acked "))
			if err != nil {
				continue // of the test binary
			}
			if patience--; patience >= 0 && rand.IntN(4) > 0 {
				acked = n // otherwise the acknowledgement is lost
			}
			if patience == 0 {
				_ = child.Process.Kill()
				kills++
			}
			if n == childEnd {
				acked = n
			}
		}
		_ = child.Wait()
	}
	if kills < 10 {
		t.Errorf("%d kills only", kills)
	}
	seen := map[string]int{}
	for _, line := range lines(t, dir, "events") {
		var e struct {
			Position string `json:"position"`
			Message  string `json:"message"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		seen[e.Position+" "+e.Message]++
	}
	for _, d := range logged(0, childEnd) {
		if n := seen[d.Position()+" "+d.Event.Message]; n != 1 {
			t.Fatalf("%s is there %d times", d.Position(), n)
		}
	}
	if len(seen) != childEnd {
		t.Errorf("%d events, want %d", len(seen), childEnd)
	}
}

func TestEventFileRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := eventSink(t, "file", "{max_bytes: 1000, keep: 3, dir: "+dir+"}", sinks.Env{Now: func() time.Time { now = now.Add(time.Second); return now }})
	if err := s.Write(t.Context(), logged(0, 100)); err != nil {
		t.Fatal(err)
	}
	packed, _ := filepath.Glob(filepath.Join(dir, "events-*.ndjson.gz"))
	all, _ := filepath.Glob(filepath.Join(dir, "events*"))
	if len(packed) != 3 || len(all) != 4 {
		t.Errorf("%d packed of %v, want 3 and the one that is written to", len(packed), all)
	}
	got := lines(t, dir, "events")
	if last := `{"position":"EVENTS_p03/10/9","timestamp":"2026-03-01T12:00:00`; !strings.HasPrefix(got[len(got)-1], last) {
		t.Errorf("last line %s, want %s", got[len(got)-1], last)
	}
	// Another day is another file, and what comes again is passed over.
	now = now.Add(24 * time.Hour)
	newest := filepath.Base(packed[2])
	if err := s.Write(t.Context(), append(logged(95, 5), logged(100, 1)...)); err != nil {
		t.Fatal(err)
	}
	after, _ := filepath.Glob(filepath.Join(dir, "events-*.ndjson.gz"))
	if filepath.Base(after[2]) == newest {
		t.Error("a new day did not rotate")
	}
	if got := lines(t, dir, "events"); strings.Count(strings.Join(got, "\n"), "EVENTS_p03/10/9\"") != 1 {
		t.Errorf("an event is there twice:\n%s", strings.Join(got, "\n"))
	}
	for path, want := range map[string]os.FileMode{dir: 0o750, filepath.Join(dir, "events.ndjson"): 0o640, after[0]: 0o640} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// TestEventFileForeign: what somebody else wrote is neither cut nor mixed.
func TestEventFileForeign(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(path, []byte("theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := "dir: " + dir
	first := eventSink(t, "file", options, sinks.Env{})
	if err := first.Write(t.Context(), logged(0, 1)); err != nil {
		t.Fatal(err)
	}
	second := eventSink(t, "file", options, sinks.Env{})
	if err := second.Write(t.Context(), logged(1, 1)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v: two write at once", err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("theirs again\n"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	for range 2 { // while it is open, and when it is opened anew
		if err := first.Write(t.Context(), logged(1, 1)); err == nil || !strings.Contains(err.Error(), "somebody else writes") {
			t.Errorf("%v, want that somebody else writes to it", err)
		}
	}
	got := lines(t, dir, "events")
	if len(got) != 3 || got[0] != "theirs" || got[2] != "theirs again" {
		t.Errorf("%q", got)
	}
}

func audited(i int) sinks.Delivered {
	success := true
	return sinks.Delivered{Stream: "AUDIT", Seq: uint64(i), Time: 1764239445123e6, Event: &schemas.Event{
		Time: 1764239445123e6, Kind: schemas.KindAudit, Service: "api", User: "doc_123", Action: "UPDATE", Resource: "patient_456",
		Details: map[string]any{"field": "diagnosis", "old_value": "eczema", "new_value": "psoriasis"}, Success: &success,
	}}
}

// TestAuditFile writes the form of the seed, and keeps all of it: also from a
// clean-up of old logs.
func TestAuditFile(t *testing.T) {
	logs := t.TempDir()
	dir := filepath.Join(logs, "audit")
	env := sinks.Env{Getenv: func(name string) string {
		return map[string]string{"HIPAA_AUDIT_ENABLED": "True", "HIPAA_AUDIT_LOG_DIR": dir}[name]
	}}
	s := eventSink(t, "audit_file", "max_bytes: 300", env)
	for i := 1; i <= 40; i++ {
		if err := s.Write(t.Context(), append(logged(i, 1), audited(i))); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(t, dir, "audit")
	want := `{"timestamp":"2025-11-27T10:30:45.123Z","user":"doc_123","action":"UPDATE","resource":"patient_456",` +
		`"details":{"field":"diagnosis","new_value":"psoriasis","old_value":"eczema"},"success":true}`
	if diff := cmp.Diff(slices.Repeat([]string{want}, 40), got); diff != "" {
		t.Errorf("lines (-want +got):\n%.2000s", diff)
	}
	// cleanup_old_logs: every *.log that is older than 90 days goes.
	old := time.Now().AddDate(0, 0, -100)
	for _, f := range files(t, dir) {
		path := filepath.Join(dir, f)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(path) == ".log" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := lines(t, dir, "audit"); len(got) < 37 {
		t.Errorf("%d of 40 audit events are left by a clean-up", len(got))
	}
}

func TestAuditFileOff(t *testing.T) {
	for options, want := range map[string]string{"": "audit is not enabled", "enabled: true": "no directory", "dir: /x": "not enabled"} {
		if reason, off := eventSink(t, "audit_file", options, sinks.Env{}).Off(); !off || !strings.Contains(reason, want) {
			t.Errorf("%q: off %v, %q, want %q", options, off, reason, want)
		}
	}
}

// TestEventFileCut: wherever the machine stopped, in the line or in the notes,
// each event is there once when it has come again.
func TestEventFileCut(t *testing.T) {
	source := t.TempDir()
	if err := eventSink(t, "file", "dir: "+source, sinks.Env{}).Write(t.Context(), logged(0, 3)); err != nil {
		t.Fatal(err)
	}
	data, notes := read(t, source, "events.ndjson"), read(t, source, ".events.positions")
	want := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	try := func(data, notes []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"events.ndjson": data, ".events.positions": notes} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := eventSink(t, "file", "dir: "+dir, sinks.Env{})
		for range 2 {
			if err := s.Write(t.Context(), logged(0, 3)); err != nil {
				t.Fatalf("%d bytes, %d of notes: %v", len(data), len(notes), err)
			}
		}
		if diff := cmp.Diff(want, lines(t, dir, "events")); diff != "" {
			t.Fatalf("%d bytes, %d of notes (-want +got):\n%s", len(data), len(notes), diff)
		}
	}
	for i := range data {
		try(data[:i], notes)
	}
	for i := range notes {
		try(nil, notes[:i])
	}
}
