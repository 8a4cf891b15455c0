package proof

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

const (
	maxFindings = 10_000
	// maxLanes bounds the open lanes that are remembered, at about 300 bytes each.
	maxLanes = 100_000
)

// ledger is the account of what was seen.
type ledger struct {
	report     *Report
	told       map[string]bool
	lanes      map[string]*Lane
	whole      bool                     // lanes are seen from their first frame on
	cut        bool                     // but not those of this stream: retention deleted of it
	publishers map[Publisher]*Publisher // by day, kind and service
	spoken     []*spoken
	ended      map[uint64]struct{} // hashes of lanes that had a final frame
	left       []left
}

// left is what a lane says of the one that it took the place of.
type left struct {
	schemas.LaneEnd
	Stream, lane string // that says so
	seq          uint64
	arrival      int64
	cut          bool // the beginnings of lanes may be deleted where it says so
}

func newLedger(report *Report, before *Report, whole bool) *ledger {
	l := &ledger{
		report: report, told: map[string]bool{}, lanes: map[string]*Lane{},
		publishers: map[Publisher]*Publisher{}, whole: whole, ended: map[uint64]struct{}{},
	}
	if before != nil {
		for _, lane := range before.Lanes {
			lane.Batch = cmp.Or(lane.Batch, lane.Counter) // of a report from before there was a batch
			l.lanes[lane.Lane] = &lane
		}
		l.whole = before.Forgotten == 0 && before.Begun == 0
		report.Forgotten = before.Forgotten
	}
	return l
}

// find notes a finding, once.
func (l *ledger) find(f Finding) {
	text := f.String()
	switch {
	case l.told[text]:
	case len(l.report.Findings) == maxFindings:
		l.report.More++
	default:
		l.told[text] = true
		l.report.Findings = append(l.report.Findings, f)
	}
}

// frame accounts for a message with a lane's header.
func (l *ledger) frame(r *archive.Record, h schemas.FrameHeader) {
	lane := l.lanes[r.Subject]
	if lane == nil {
		if len(l.lanes) == maxLanes {
			l.forget()
		}
		lane = &Lane{Lane: strings.Clone(r.Subject)}
		if h.Counter > 1 && (l.cut || !l.whole) {
			l.report.Begun++
			lane.Counter = h.Counter - 1
		}
		l.lanes[lane.Lane] = lane
	}
	f := Finding{Kind: Frames, Where: lane.Lane, Stream: r.Stream, Lane: lane.Lane, Since: lane.Arrival, Until: r.Arrival}
	if h.Counter <= lane.Counter {
		f.From, f.To = h.Counter, h.Counter
		f.What = fmt.Sprintf("frame %d comes behind frame %d, at sequence %d: it is there twice, or out of its place", h.Counter, lane.Counter, r.Seq)
		l.find(f)
		return
	}
	if h.Counter > lane.Counter+1 {
		f.From, f.To = lane.Counter+1, h.Counter-1
		f.What = fmt.Sprintf("%s missing, %s sequence %d of %s%s",
			span("frame", f.From, f.To), between(lane.Seq), r.Seq, r.Stream, acked(f, h))
		l.find(f)
	}
	lane.Counter, lane.Acked, lane.Seq, lane.Arrival = h.Counter, max(lane.Acked, h.Acked), r.Seq, r.Arrival
	lane.Batch = cmp.Or(h.Batch, h.Counter)
	if h.After.Lane != "" {
		l.leave(left{h.After, r.Stream, lane.Lane, r.Seq, r.Arrival, l.cut})
	}
	if h.Final {
		l.end(lane.Lane)
	}
}

// end notes that nothing is missing of a lane at its end.
func (l *ledger) end(lane string) {
	l.report.Complete++
	delete(l.lanes, lane)
	if len(l.ended) == maxLanes {
		clear(l.ended)
		l.whole = false
	}
	l.ended[maphash.String(hashes, lane)] = struct{}{}
}

var hashes = maphash.MakeSeed()

// leave notes what a lane says of another, to be looked at when all is seen.
func (l *ledger) leave(at left) {
	if len(l.left) == maxLanes {
		l.report.Forgotten++
		return
	}
	l.left = append(l.left, at)
}

// settle compares what was acknowledged of lanes that were lost with what is there.
func (l *ledger) settle() {
	for _, at := range l.left {
		lane := l.lanes[at.Lane]
		if lane == nil {
			if _, ended := l.ended[maphash.String(hashes, at.Lane)]; ended || at.cut || !l.whole {
				continue
			}
			lane = &Lane{Lane: at.Lane}
		}
		if lane.Batch < at.Batch {
			what := "frame"
			if lane.Batch != lane.Counter {
				what = "record"
			}
			l.find(Finding{Kind: Frames, Where: at.Lane, Stream: at.Stream, Lane: at.Lane,
				From: lane.Batch + 1, To: at.Batch, Since: lane.Arrival, Until: at.arrival,
				What: fmt.Sprintf("%s gone, though acknowledged: lost by the stream, as %s says, which goes on in its place (sequence %d of %s)",
					span(what, lane.Batch+1, at.Batch), at.lane, at.seq, at.Stream)})
			delete(l.lanes, at.Lane)
			continue
		}
		l.end(at.Lane)
	}
}

// acked says what a lane's publisher was told of frames that are missing.
func acked(f Finding, h schemas.FrameHeader) string {
	if h.Acked < f.From {
		return ""
	}
	return fmt.Sprintf("; acknowledged up to %d", min(h.Acked, f.To))
}

func between(seq uint64) string {
	if seq == 0 {
		return "before"
	}
	return fmt.Sprintf("between sequence %d and", seq)
}

func span(what string, from, to uint64) string {
	if from == to {
		return fmt.Sprintf("%s %d is", what, from)
	}
	return fmt.Sprintf("%ss %d to %d are", what, from, to)
}

// forget makes room by dropping the half of the lanes that has been silent for
// longest. A lane that then goes on counts as begun before.
func (l *ledger) forget() {
	all := slices.SortedFunc(maps.Values(l.lanes), func(a, b *Lane) int { return cmp.Compare(a.Arrival, b.Arrival) })
	for _, lane := range all[:len(all)/2] {
		delete(l.lanes, lane.Lane)
		l.report.Forgotten++
	}
	l.whole = false
}

// spoke accounts for who speaks.
func (l *ledger) spoke(r *archive.Record, s schemas.Subject, events int) {
	key := Publisher{Day: time.Unix(0, r.Arrival).UTC().Format(time.DateOnly), Kind: s.Kind, Service: s.Service}
	p := l.publishers[key]
	if p == nil {
		p = &key
		l.publishers[key] = p
	}
	p.Frames++
	p.Events += uint64(events)
	for _, e := range l.spoken {
		if e.Kind == s.Kind && e.Service == s.Service && events > 0 {
			e.at(r.Arrival)
		}
	}
}

// close makes the report of the account.
func (l *ledger) close() {
	l.settle()
	r := l.report
	r.Lanes = []Lane{}
	for _, name := range slices.Sorted(maps.Keys(l.lanes)) {
		r.Lanes = append(r.Lanes, *l.lanes[name])
	}
	r.Publishers = []Publisher{}
	for _, p := range l.publishers {
		r.Publishers = append(r.Publishers, *p)
	}
	slices.SortFunc(r.Publishers, func(a, b Publisher) int { return a.compare(&b) })
}
