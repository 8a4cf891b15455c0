package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
)

// prefix is where the reports of days are in the archive.
const prefix = "verify/"

func reportKey(day string) string { return prefix + day + ".json" }

// reports are those of days, in order.
type reports []*Report

// readReports reads the reports of the days that are looked at, of the day before,
// and the last one.
func readReports(ctx context.Context, store archive.Store, since, until int64) (reports, error) {
	var keys []string
	for o, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		keys = append(keys, o.Key)
	}
	var all reports
	for i, key := range keys {
		day, err := time.Parse(time.DateOnly, strings.TrimSuffix(strings.TrimPrefix(key, prefix), ".json"))
		from := day.UnixNano()
		if i < len(keys)-1 && err == nil && (from < since-int64(dayLength) || until > 0 && from >= until) {
			continue
		}
		r, err := readReport(ctx, store, key)
		if err != nil {
			return nil, err
		}
		if r.Until != since {
			r.Lanes = nil // only those of the report that is gone on from are needed
		}
		all = append(all, r)
	}
	return all, nil
}

const dayLength = 24 * time.Hour

func readReport(ctx context.Context, store archive.Store, key string) (*Report, error) {
	b, err := archive.ReadAll(ctx, store, key)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is no report: %w; move it out of the archive, and the day is looked at again", key, err)
	}
	if r.Format != 1 {
		return nil, fmt.Errorf("%s is a report of format %d; this build reads 1", key, r.Format)
	}
	return r, nil
}

// Last is the report of the last day that was looked at, nil if there is none.
func Last(ctx context.Context, store archive.Store) (*Report, error) {
	last := ""
	for o, err := range store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("last report: %w", err)
		}
		last = o.Key
	}
	if last == "" {
		return nil, nil
	}
	return readReport(ctx, store, last)
}

// keep keeps a day's report, unless there is one already.
func keep(ctx context.Context, store archive.Store, r *Report) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = store.Put(ctx, reportKey(day(r.Since)), bytes.NewReader(b), int64(len(b)))
	if errors.Is(err, archive.ErrExists) {
		return nil
	}
	return err
}

func day(ns int64) string { return time.Unix(0, ns).UTC().Format(time.DateOnly) }

// before is the report that ends where a run begins, nil if there is none.
func (all reports) before(since int64) *Report {
	for _, r := range all {
		if since > 0 && r.Until == since {
			return r
		}
	}
	return nil
}

// kept are the heads of the archive that the last report recorded.
func (all reports) kept(stream string) (heads []archive.Head) {
	if len(all) == 0 {
		return nil
	}
	for _, h := range all[len(all)-1].Heads {
		if c, err := archive.ParseChain(h.Chain); err == nil && c.Stream == stream && h.Hash != "" {
			heads = append(heads, h)
		}
	}
	return heads
}

// compareDays looks whether everybody is there who was there when a day's report
// was made.
func (r *run) compareDays(all reports) {
	for _, then := range all {
		if then.Since < r.Since || r.Until > 0 && then.Until > r.Until {
			continue
		}
		for _, p := range then.Publishers {
			if then.Since < r.deleted.of(p.Kind) {
				continue
			}
			now := Publisher{}
			if found := r.publishers[Publisher{Day: p.Day, Kind: p.Kind, Service: p.Service}]; found != nil {
				now = *found
			}
			if now.Events < p.Events || now.Frames < p.Frames {
				from := then.Since
				r.find(Finding{Kind: Silent, Where: p.Service + " " + string(p.Kind), Since: from, Until: then.Until, What: fmt.Sprintf(
					"of its %d events of %s in %d messages, as that day's report counted them, %d are there in %d",
					p.Events, p.Day, p.Frames, now.Events, now.Frames)})
			}
		}
	}
}
