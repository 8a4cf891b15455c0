package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what a spool on disk holds.
type Report struct {
	Lanes   []LaneReport // sorted by lane
	Damaged []Damage     // in the order of the segments
	Bytes   int64        // of all segments, kept ones too
}

// LaneReport is what a spool holds of one lane.
type LaneReport struct {
	Lane    string `json:"lane"`
	Records int    `json:"records"` // not known to be stored at the broker
	Events  int64  `json:"events"`
	Bytes   int64  `json:"bytes"`
	First   uint64 `json:"first"`  // batch
	Last    uint64 `json:"last"`   // batch
	Oldest  int64  `json:"oldest"` // when the first was written, Unix ns
}

// Check reads every byte of the spool in dir and changes nothing. A publisher may
// have it open meanwhile; what that is writing just now may then show as a
// damaged tail.
func Check(dir string) (Report, error) {
	fault := func(err error) (Report, error) { return Report{}, fmt.Errorf("check spool %s: %w", dir, err) }
	marks, err := readMarks(dir)
	if err != nil {
		return fault(err)
	}
	var report Report
	lanes := map[string]*LaneReport{}
	for _, ext := range []string{damagedExt, segmentExt} {
		names, err := segments(dir, ext)
		if err != nil {
			return fault(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if os.IsNotExist(err) {
				continue // drained meanwhile
			}
			if err != nil {
				return fault(err)
			}
			report.Bytes += int64(len(b))
			for it := range scan(name, b) {
				switch {
				case it.damage != nil:
					report.Damaged = append(report.Damaged, *it.damage)
				case ext == segmentExt && it.record.Batch > marks[it.record.Lane]:
					count(lanes, &it)
				}
			}
		}
	}
	for _, l := range lanes {
		report.Lanes = append(report.Lanes, *l)
	}
	slices.SortFunc(report.Lanes, func(a, b LaneReport) int { return strings.Compare(a.Lane, b.Lane) })
	return report, nil
}

func count(lanes map[string]*LaneReport, it *item) {
	r := &it.record
	l := lanes[r.Lane]
	if l == nil {
		l = &LaneReport{Lane: r.Lane, First: r.Batch, Oldest: r.Time}
		lanes[r.Lane] = l
	}
	l.Records++
	l.Events += int64(r.Events)
	l.Bytes += it.length
	l.Last = max(l.Last, r.Batch)
}
