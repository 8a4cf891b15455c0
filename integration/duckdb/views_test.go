package duckdb_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/archive/query"
	"github.com/dermai/millrace/archive/segment"
)

// filled is an archive of two days: logs, metrics and audit events, compacted.
func filled(t *testing.T) *archivetest.Bench {
	b := archivetest.NewBench(t)
	for day := range 2 {
		for i := range 5 {
			b.Put("events.0.log.api.l1", fmt.Sprintf(`{"level":"ERROR","message":"it's \"%d\"","trace_id":"t%d","attributes":{"n":%d}}`+"\n\n"+`{"message":"more"}`, i, i, day))
			b.Put("events.0.metric.api.l2", fmt.Sprintf(`{"name":"system.cpu","type":"gauge","value":%d.5,"unit":"%%"}`, i))
			b.Put("events.0.log.api.l1", "no event")
			b.Put("events.0.tick", "")
			b.Put("audit.api.l3", fmt.Sprintf(`{"user":"ann","action":"read","resource":"patient/%d","success":true}`, i))
		}
		b.Archive(t, "EVENTS_0")
		b.Archive(t, "AUDIT")
		b.Now += int64(24 * time.Hour)
	}
	b.Put("events.0.log.api.l1", `{"message":"not compacted"}`)
	b.Put("audit.api.l3", `{"user":"bob","action":"read","resource":"patient/1"}`)
	b.Archive(t, "EVENTS_0")
	b.Archive(t, "AUDIT")
	b.Compact(t)
	return b
}

// open gives a database with the views over an archive.
func open(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1) // variables are of a connection
	views, err := os.ReadFile("../../deploy/views.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprintf("SET VARIABLE archive = '%s'", dir), string(views)} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// rows gives the result of a query as text.
func rows(t *testing.T, db *sql.DB, q string) (out []string) {
	t.Helper()
	r, err := db.Query(q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	defer r.Close()
	for r.Next() {
		var v any
		if err := r.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(v))
	}
	if err := r.Err(); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return out
}

func TestViews(t *testing.T) {
	b := filled(t)
	m, err := archive.Chains(t.Context(), b.Store, "telemetry", "EVENTS_0")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := archive.ReadManifest(t.Context(), b.Store, m[0])
	if err != nil {
		t.Fatal(err)
	}
	// What no commit names does not count.
	stray, err := os.ReadFile(filepath.Join(b.Dir, manifest.Segments[0].Key))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, filepath.Dir(manifest.Segments[0].Key), "9-9.parquet"), stray, 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, b.Dir)

	var want []string
	_, err = query.Run(t.Context(), b.Store, query.Options{}, func(e *query.Event) error {
		if (e.Chain.Stream != "EVENTS_0" || e.Seq <= manifest.Through()) && e.User != "bob" {
			want = append(want, fmt.Sprintf("%s %d/%d %s %s %s %d", e.Chain.Stream, e.Seq, e.Index, e.Kind, e.Level, e.TraceID, e.Time))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := rows(t, db, `SELECT format('{} {}/{} {} {} {} {}', stream, sequence, "index", kind, level, trace_id, epoch_ns(event_time)) FROM events ORDER BY arrival, stream, sequence, "index"`)
	if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
		t.Errorf("events (-query +DuckDB):\n%s", diff)
	}
	for q, want := range map[string]string{
		`SELECT string_agg(message, ',' ORDER BY sequence) FROM logs WHERE trace_id = 't3'`: `it's "3",it's "3"`,
		`SELECT sum((attributes->>'n')::INT) FROM logs`:                                     "5",
		`SELECT avg(value) FROM metrics WHERE name = 'system.cpu'`:                          "2.5",
		`SELECT count(*) FROM audit WHERE "user" = 'ann' AND success`:                       "10",
		`SELECT count(DISTINCT dt) FROM events`:                                             "2",
	} {
		if got := rows(t, db, q); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q; want %s", q, got, want)
		}
	}

	// Retention takes away, and gives back.
	retain := func(r archive.Retention) {
		t.Helper()
		if err := manifest.Retain(t.Context(), b.Store, r); err != nil {
			t.Fatal(err)
		}
	}
	all := rows(t, db, `SELECT count(*) FROM segments`)[0]
	condemned := manifest.Segments[0]
	retain(archive.Retention{At: 1, By: "test", Why: "age", Condemned: []archive.Segment{condemned}})
	if n := rows(t, db, `SELECT count(*) FROM segments`)[0]; n == all {
		t.Errorf("a condemned segment is still one of %s", n)
	}
	retain(archive.Retention{At: 2, By: "test", Why: "held", Spared: []string{condemned.Key}})
	if n := rows(t, db, `SELECT count(*) FROM segments`)[0]; n != all {
		t.Errorf("%s segments; want all %s again", n, all)
	}
}

// TestExport: what a query writes as Parquet opens as it is.
func TestExport(t *testing.T) {
	b := filled(t)
	file := filepath.Join(t.TempDir(), "events.parquet")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := segment.NewRowWriter(f)
	stats, err := query.Run(t.Context(), b.Store, query.Options{}, func(e *query.Event) error {
		return w.Write([]segment.Row{e.Row()})
	})
	if err != nil || w.Close() != nil || f.Close() != nil {
		t.Fatal(err)
	}
	db := open(t, b.Dir)
	got := rows(t, db, fmt.Sprintf(`SELECT count(*) || ' ' || count(DISTINCT decode(payload)::JSON->>'user') FROM '%s'`, file))
	if want := fmt.Sprintf("%d 2", stats.Events); got[0] != want {
		t.Errorf("%s; want %s", got[0], want)
	}
}
