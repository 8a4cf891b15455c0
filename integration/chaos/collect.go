package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// What a run leaves in its directory. The checks look at nothing else.
const (
	fileOptions = "options.json"
	fileTimes   = "times.json"
	fileSent    = "sent.jsonl"
	fileTold    = "told.jsonl"
	fileFired   = "fired.jsonl"
	fileEnded   = "ended.jsonl"
	fileUsed    = "used.jsonl"
	fileVerify  = "verify.json"
	fileObjects = "objects.json" // keys in the store
	dirStreams  = "streams"      // what the broker has at the end
	dirArchive  = "archived"     // what the archive holds
	dirMetrics  = "metrics"      // what each daemon showed at the end
	dirLogs     = "logs"
)

// drain waits until everything that is stored is decided and told. What the
// archive lacks then, rest adds.
func (r *run) drain(ctx context.Context) error {
	log := r.conn.Log()
	defer log.Close()
	for _, class := range schemas.Classes {
		if err := r.decided(ctx, log, class, r.times.Healed); err != nil {
			return err
		}
	}
	r.times.Decides = time.Now()
	for _, class := range schemas.Classes {
		if err := r.decided(ctx, log, class, r.times.Silence.Add(time.Second)); err != nil {
			return err
		}
	}
	return until(ctx, r.drainLimit(), "every notification has an outcome", func() (err error) {
		r.times.Told, err = delivered(ctx, log)
		return err
	})
}

// drainLimit is how long each part of draining may take. A planted bug may well
// keep a run from it.
func (r *run) drainLimit() time.Duration {
	if r.o.Bug != "" {
		return 15 * time.Second
	}
	return 90 * time.Second
}

// decided waits until a class is decided beyond a moment.
func (r *run) decided(ctx context.Context, log fence.Log, class schemas.Class, moment time.Time) error {
	return until(ctx, r.drainLimit(), string(class)+" is decided", func() error {
		_, tick, err := reference.Decided(ctx, log, class)
		if err == nil && tick <= moment.Unix() {
			err = fmt.Errorf("decided up to %s", time.Unix(tick, 0).UTC().Format(time.TimeOnly))
		}
		return err
	})
}

// delivered tells whether each planned notification has an outcome that stands, and up
// to which sequence of NOTIFY it looked.
func delivered(ctx context.Context, log fence.Log) (last uint64, err error) {
	open := map[string]bool{}
	err = reference.Each(ctx, log, schemas.StreamNotify, func(e fence.Entry) error {
		if last = e.Seq; e.Header[schemas.HeaderType] != schemas.TypeNotification {
			return nil
		}
		var n schemas.Notification
		if err := schemas.DecodeInto(e.Data, &n); err != nil {
			return err
		}
		open[n.ID] = true
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = reference.Each(ctx, log, schemas.StreamDeliveries, func(e fence.Entry) error {
		if e.Header[schemas.HeaderType] != schemas.TypeDelivery {
			return nil
		}
		var d schemas.Delivery
		if err := schemas.DecodeInto(e.Data, &d); err != nil {
			return err
		}
		if d.Outcome == schemas.DeliveryDelivered || d.Outcome == schemas.DeliveryRejected {
			delete(open, d.Notification)
		}
		return nil
	})
	if err == nil && len(open) > 0 {
		err = fmt.Errorf("%d notifications have none", len(open))
	}
	return last, err
}

// archivedStreams are those of which the archive keeps everything.
func archivedStreams(partitions []schemas.Partition) []string {
	streams := []string{schemas.StreamControl, schemas.StreamAlerts}
	for _, p := range partitions {
		streams = append(streams, p.Stream())
	}
	return streams
}

// collect writes what the broker and the archive hold into the run's directory.
func (r *run) collect(ctx context.Context) error {
	log := r.conn.Log()
	defer log.Close()
	schedule, err := reference.Schedule(ctx, log, new(rules.Cache))
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	var partitions []schemas.Partition
	for _, class := range schemas.Classes {
		partitions = append(partitions, schedule.Partitions(class)...)
	}
	archived := archivedStreams(partitions)
	rest := []string{schemas.StreamPartials, schemas.StreamNotify, schemas.StreamDeliveries, schemas.StreamQuarantine}
	for _, name := range slices.Concat(archived, rest) {
		var list []fence.Entry
		err := reference.Each(ctx, log, name, func(e fence.Entry) error {
			e.Data = bytes.Clone(e.Data)
			list = append(list, e)
			return nil
		})
		if err != nil {
			return fmt.Errorf("collect %s: %w", name, err)
		}
		if err := writeLedger(filepath.Join(r.dir, dirStreams, name), list); err != nil {
			return err
		}
	}
	return r.collectArchive(ctx, archived)
}

func (r *run) collectArchive(ctx context.Context, streams []string) (err error) {
	store, closes, err := r.cluster.openArchive()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closes()) }()
	report, err := archive.Verify(ctx, store, archive.Options{Full: true})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for _, name := range streams {
		var list []fence.Entry
		err := archive.Cat(ctx, store, archive.Filter{Stream: name}, func(m *archive.Record) error {
			list = append(list, fence.Entry{Seq: m.Seq, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: bytes.Clone(m.Payload)})
			return nil
		})
		if err != nil {
			report.Problems = append(report.Problems, archive.Problem{Key: name, What: err.Error()})
		}
		if err := writeLedger(filepath.Join(r.dir, dirArchive, name), list); err != nil {
			return err
		}
	}
	var keys []string
	for o, err := range store.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list the archive: %w", err)
		}
		keys = append(keys, o.Key)
	}
	return errors.Join(writeJSON(filepath.Join(r.dir, fileVerify), report), writeJSON(filepath.Join(r.dir, fileObjects), keys))
}
