package app_test

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/fence/fencetest"
	"github.com/dermai/millrace/schemas"
)

// mkarchive DIR [DAYS] archives three objects: two of ten events in EVENTS_0, one of
// an audit event; before them, on each of so many days, one of an event in
// EVENTS_0 and one of an audit event. It is a command of scripts.
func mkarchive(ts *testscript.TestScript, neg bool, args []string) {
	days := 0
	if len(args) == 2 {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		days = n
	}
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: mkarchive DIR [DAYS]")
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	log := &fencetest.Memory{Clock: func() int64 { now += int64(time.Second); return now }}
	store, err := archive.OpenFileStore(ts.MkAbs(args[0]))
	ts.Check(err)
	defer store.Close()
	put := func(subject, message string) {
		data := schemas.Pack(nil, fmt.Appendf(nil, `{"timestamp":"2026-03-01T12:00:00Z","level":"INFO","message":%q}`+"\n", message))
		log.Put(fence.Message{Subject: subject, Data: data})
	}
	flush := func(stream string) {
		a, err := archive.NewArchiver(log, store, archive.Config{Stream: stream, Now: func() time.Time { return time.Unix(0, now) }})
		ts.Check(err)
		for busy := true; busy; {
			busy, err = a.Step(context.Background())
			ts.Check(err)
		}
		ts.Check(a.Flush(context.Background()))
	}
	for i := range days {
		put("ingest.log.shop", fmt.Sprintf("of day %d", i+1))
		flush("EVENTS_0")
		put("ingest.audit.shop", fmt.Sprintf("an audit event of day %d", i+1))
		flush("AUDIT")
		now += int64(24 * time.Hour)
	}
	for i := range 20 {
		put("ingest.log.shop", fmt.Sprintf("message %d", i+1))
		if i%10 == 9 {
			flush("EVENTS_0")
		}
	}
	put("ingest.audit.shop", "an audit event")
	flush("AUDIT")
}
