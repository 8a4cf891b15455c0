package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/integration/reference"
	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// evidence is what a run left, read back.
type evidence struct {
	options  Options
	times    Times
	sent     []Sent
	told     []Told
	fired    []Fired
	ended    []Ended
	used     []Used
	verify   archive.Report
	objects  []string
	streams  streams
	archived streams
	metrics  map[string]metrics // by program
	outside  map[string]string  // what left the house, or may be read outside, by name

	schedule *engine.Schedule
	messages map[schemas.Class][]reference.Message
	planned  []planned
	outcomes []schemas.Delivery

	quarantined []schemas.Quarantined
}

// planned is a notification, with its sequence.
type planned struct {
	schemas.Notification
	seq uint64
}

// readEvidence reads a run's directory.
func readEvidence(dir string) (*evidence, error) {
	e := &evidence{metrics: map[string]metrics{}, outside: map[string]string{}}
	file := func(name string) string { return filepath.Join(dir, name) }
	var errs [9]error
	errs[0] = readJSON(file(fileOptions), &e.options)
	errs[1] = readJSON(file(fileTimes), &e.times)
	errs[2] = readJSON(file(fileVerify), &e.verify)
	errs[3] = readJSON(file(fileObjects), &e.objects)
	e.sent, errs[4] = readLedger[Sent](file(fileSent))
	e.told, errs[5] = readLedger[Told](file(fileTold))
	e.fired, errs[6] = readLedger[Fired](file(fileFired))
	e.ended, errs[7] = readLedger[Ended](file(fileEnded))
	e.used, errs[8] = readLedger[Used](file(fileUsed))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	var err error
	if e.streams, err = readStreams(file(dirStreams)); err != nil {
		return nil, err
	}
	if e.archived, err = readStreams(file(dirArchive)); err != nil {
		return nil, err
	}
	if err := e.readOutside(dir); err != nil {
		return nil, err
	}
	return e, e.decode()
}

// readOutside reads what is not ours alone: what programs show and say, what
// receivers got, and the names of objects.
func (e *evidence) readOutside(dir string) error {
	for _, d := range []string{dirMetrics, dirLogs} {
		entries, err := os.ReadDir(filepath.Join(dir, d))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			text, err := os.ReadFile(filepath.Join(dir, d, entry.Name()))
			if err != nil {
				return err
			}
			e.outside[d+"/"+entry.Name()] = string(text)
			if d == dirMetrics {
				e.metrics[entry.Name()] = readMetrics(string(text))
			}
		}
	}
	e.outside["names of objects"] = strings.Join(e.objects, "\n")
	for _, t := range e.told {
		e.outside["receiver "+t.Receiver] += t.Body
	}
	return nil
}

// decode reads the streams as they are meant.
func (e *evidence) decode() (err error) {
	ctx := context.Background()
	if e.schedule, err = reference.Schedule(ctx, e.streams, new(rules.Cache)); err != nil {
		return fmt.Errorf("control log: %w", err)
	}
	e.messages, e.planned, e.outcomes, e.quarantined = map[schemas.Class][]reference.Message{}, nil, nil, nil
	for _, class := range schemas.Classes {
		if e.messages[class], err = reference.Messages(ctx, e.streams, e.schedule, class); err != nil {
			return err
		}
	}
	for _, m := range e.streams[schemas.StreamNotify] {
		var n schemas.Notification
		if m.Header[schemas.HeaderType] != schemas.TypeNotification {
			continue
		}
		if err := schemas.DecodeInto(m.Data, &n); err != nil {
			return fmt.Errorf("%s, message %d: %w", schemas.StreamNotify, m.Seq, err)
		}
		e.planned = append(e.planned, planned{n, m.Seq})
	}
	for _, m := range e.streams[schemas.StreamDeliveries] {
		var d schemas.Delivery
		if m.Header[schemas.HeaderType] != schemas.TypeDelivery {
			continue
		}
		if err := schemas.DecodeInto(m.Data, &d); err != nil {
			return fmt.Errorf("%s, message %d: %w", schemas.StreamDeliveries, m.Seq, err)
		}
		e.outcomes = append(e.outcomes, d)
	}
	for _, m := range e.streams[schemas.StreamQuarantine] {
		var q schemas.Quarantined
		if err := schemas.DecodeInto(m.Data, &q); err != nil {
			return fmt.Errorf("%s, message %d: %w", schemas.StreamQuarantine, m.Seq, err)
		}
		e.quarantined = append(e.quarantined, q)
	}
	return nil
}

// streams are streams that do not change any more, as a log.
type streams map[string][]fence.Entry

func readStreams(dir string) (streams, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	s := streams{}
	for _, e := range entries {
		if s[e.Name()], err = readLedger[fence.Entry](filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Append implements fence.Log: nothing is added.
func (s streams) Append(context.Context, fence.Message, uint64) (uint64, error) {
	return 0, errors.New("these streams are at their end")
}

// Head implements fence.Log.
func (s streams) Head(_ context.Context, subject string) (fence.Entry, error) {
	for _, entry := range slices.Backward(s[schemas.StreamOf(subject)]) {
		if entry.Subject == subject {
			return entry, nil
		}
	}
	return fence.Entry{}, fence.ErrNoHead
}

// Read implements fence.Log.
func (s streams) Read(_ context.Context, stream string, from uint64, most int) ([]fence.Entry, error) {
	list := s[stream]
	for len(list) > 0 && list[0].Seq < from {
		list = list[1:]
	}
	return list[:min(most, len(list))], nil
}

// Info implements fence.Log.
func (s streams) Info(_ context.Context, stream string) (fence.Info, error) {
	list := s[stream]
	if len(list) == 0 {
		return fence.Info{First: 1}, nil
	}
	return fence.Info{First: list[0].Seq, Last: list[len(list)-1].Seq}, nil
}

// metrics are the samples that a daemon showed: value by name with labels.
type metrics map[string]float64

func readMetrics(text string) metrics {
	m := metrics{}
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64); err == nil {
			m[line[:i]] += v
		}
	}
	return m
}

// sum adds up the samples of a metric.
func (m metrics) sum(name string) float64 {
	var sum float64
	for sample, v := range m {
		if n, _, _ := strings.Cut(sample, "{"); n == name {
			sum += v
		}
	}
	return sum
}
