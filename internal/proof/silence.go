package proof

import (
	"fmt"
	"slices"
	"time"
)

// spoken is when an expected publisher spoke: stretches without a silence longer
// than Every, in order, however the streams are read.
type spoken struct {
	Expected
	stretches []stretch
}

type stretch struct{ from, to int64 } // Unix ns

// at notes that it spoke.
func (s *spoken) at(t int64) {
	every := int64(s.Every)
	i, _ := slices.BinarySearchFunc(s.stretches, t, func(x stretch, t int64) int {
		switch {
		case x.to+every < t:
			return -1
		case x.from-every > t:
			return 1
		}
		return 0
	})
	if i == len(s.stretches) || s.stretches[i].from-every > t {
		s.stretches = slices.Insert(s.stretches, i, stretch{t, t})
		return
	}
	x := &s.stretches[i]
	x.from, x.to = min(x.from, t), max(x.to, t)
	if i+1 < len(s.stretches) && x.to+every >= s.stretches[i+1].from {
		x.to = max(x.to, s.stretches[i+1].to)
		s.stretches = slices.Delete(s.stretches, i+1, i+2)
	}
}

// last is when it spoke last, 0 for never.
func (s *spoken) last() int64 {
	if len(s.stretches) == 0 {
		return 0
	}
	return s.stretches[len(s.stretches)-1].to
}

// silences gives the findings between two times; from 0: from when it first spoke.
func (s *spoken) silences(from, to int64) (found []Finding) {
	if from == 0 {
		if len(s.stretches) == 0 {
			return []Finding{{Kind: Silent, Where: s.String(), Until: to, What: "it never spoke, and should every " + s.Every.String()}}
		}
		from = s.stretches[0].from
	}
	for _, x := range append(slices.Clip(s.stretches), stretch{to, to}) {
		if silent := x.from - from; silent > int64(s.Every) {
			found = append(found, Finding{Kind: Silent, Where: s.String(), Since: from, Until: x.from, What: fmt.Sprintf(
				"it said nothing from %s to %s, %s, and should every %s",
				clock(from), clock(x.from), time.Duration(silent).Round(time.Second), s.Every)})
		}
		from = max(from, x.to)
	}
	return found
}

// compareSilence looks for publishers that should have spoken.
func (r *run) compareSilence(before *Report) {
	for _, s := range r.spoken {
		from := max(r.Since, r.deleted.of(s.Kind))
		last := s.last()
		if before != nil {
			for _, b := range before.Spoke {
				if b.Kind == s.Kind && b.Service == s.Service {
					from, last = b.Last, max(last, b.Last)
				}
			}
		}
		to := r.last
		if r.Log != nil {
			to = r.Now().UnixNano()
		}
		if r.Until > 0 {
			to = min(to, r.Until)
		}
		for _, f := range s.silences(from, max(to, s.last())) {
			r.find(f)
		}
		if last > 0 {
			r.report.Spoke = append(r.report.Spoke, Spoke{s.Kind, s.Service, last})
		}
	}
}
