package engine

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// observe adds one sample to a fold and returns how many bytes the fold's lists
// grew by, roughly. Evidence is added by note.
func observe(f *schemas.Fold, r *rules.Rule, s rules.Sample, o schemas.Order) int {
	f.N++
	switch r.Aggregate {
	case rules.Ratio:
		if s.Hit {
			f.Hits++
		}
	case rules.Sum, rules.Avg:
		x, err := schemas.FixedOf(s.Value)
		if err != nil {
			panic("engine: rule " + r.Name + ": " + err.Error()) // Sample refuses such values
		}
		if f.Sum == nil {
			f.Sum = new(schemas.Fixed)
		}
		*f.Sum = f.Sum.Add(x)
	case rules.Min:
		if f.Min == nil || s.Value < *f.Min {
			f.Min = new(s.Value)
		}
	case rules.Max:
		if f.Max == nil || s.Value > *f.Max {
			f.Max = new(s.Value)
		}
	case rules.LastOf:
		if f.Last == nil || f.Last.Compare(o) < 0 {
			f.Last = &schemas.Last{Order: o, Value: s.Value}
		}
	case rules.Quantile:
		index := schemas.BucketOf(s.Value)
		i, ok := slices.BinarySearchFunc(f.Buckets, index, func(b schemas.Bucket, t int32) int { return cmp.Compare(b.Index, t) })
		if !ok {
			f.Buckets = slices.Insert(f.Buckets, i, schemas.Bucket{Index: index, Count: 1})
			return bucketSize
		}
		f.Buckets[i].Count++
	}
	return 0
}

// merge adds from into into. It is commutative and associative to the bit. It
// does not change from, and shares nothing with it that is ever changed.
func merge(into, from *schemas.Fold) {
	add(into, from)
	for _, ev := range from.Evidence {
		note(into, ev)
	}
}

// add is merge without the evidence.
func add(into, from *schemas.Fold) {
	into.N += from.N
	into.Hits += from.Hits
	if from.Sum != nil {
		if into.Sum == nil {
			into.Sum = new(schemas.Fixed)
		}
		*into.Sum = into.Sum.Add(*from.Sum)
	}
	if from.Min != nil && (into.Min == nil || *from.Min < *into.Min) {
		into.Min = from.Min
	}
	if from.Max != nil && (into.Max == nil || *from.Max > *into.Max) {
		into.Max = from.Max
	}
	if from.Last != nil && (into.Last == nil || into.Last.Compare(from.Last.Order) < 0) {
		into.Last = from.Last
	}
	into.Buckets = mergeBuckets(into.Buckets, from.Buckets)
}

// withdraw takes back what was added. It returns false, and the sum is void, where the
// rest of the sum cannot be told without its parts.
func withdraw(sum, part *schemas.Fold) bool {
	switch {
	case part.Min != nil && *part.Min == *sum.Min, part.Max != nil && *part.Max == *sum.Max, part.Last != nil && *part.Last == *sum.Last:
		return false
	}
	sum.N -= part.N
	sum.Hits -= part.Hits
	if part.Sum != nil {
		*sum.Sum = sum.Sum.Sub(*part.Sum)
	}
	i := 0
	for _, b := range part.Buckets {
		for sum.Buckets[i].Index < b.Index {
			i++
		}
		sum.Buckets[i].Count -= b.Count
	}
	sum.Buckets = slices.DeleteFunc(sum.Buckets, func(b schemas.Bucket) bool { return b.Count == 0 })
	return true
}

// mergeBuckets merges two ascending lists; it may reuse a's array.
func mergeBuckets(a, b []schemas.Bucket) []schemas.Bucket {
	if len(a) == 0 {
		return slices.Clone(b)
	}
	extra := 0 // indices of b that a lacks
	for i, j := 0, 0; j < len(b); {
		switch {
		case i < len(a) && a[i].Index < b[j].Index:
			i++
		case i < len(a) && a[i].Index == b[j].Index:
			i, j = i+1, j+1
		default:
			extra, j = extra+1, j+1
		}
	}
	i, j := len(a)-1, len(b)-1
	a = slices.Grow(a, extra)[:len(a)+extra]
	for k := len(a) - 1; j >= 0; k-- {
		switch {
		case i >= 0 && a[i].Index > b[j].Index:
			a[k] = a[i]
			i--
		case i >= 0 && a[i].Index == b[j].Index:
			a[k] = schemas.Bucket{Index: a[i].Index, Count: a[i].Count + b[j].Count}
			i, j = i-1, j-1
		default:
			a[k] = b[j]
			j--
		}
	}
	return a
}

// evidenceOrder puts the worst first and ties in the order of events. Rules
// that name no worst field leave every rank at 0.
func evidenceOrder(a, b schemas.Evidence) int {
	return cmp.Or(cmp.Compare(b.Rank, a.Rank), a.Order.Compare(b.Order))
}

// wanted tells whether evidence of this order and rank is among a fold's first
// EvidenceLimit.
func wanted(f *schemas.Fold, ev schemas.Evidence) bool {
	n := len(f.Evidence)
	return n < schemas.EvidenceLimit || evidenceOrder(ev, f.Evidence[n-1]) < 0
}

// note keeps evidence if it is wanted.
func note(f *schemas.Fold, ev schemas.Evidence) {
	if !wanted(f, ev) {
		return
	}
	if len(f.Evidence) == schemas.EvidenceLimit {
		f.Evidence = f.Evidence[:schemas.EvidenceLimit-1]
	}
	i, _ := slices.BinarySearchFunc(f.Evidence, ev, evidenceOrder)
	f.Evidence = slices.Insert(f.Evidence, i, ev)
}

// value is the aggregate of a fold over a window of the given length; false
// where an empty fold has none. Only counts have a value of nothing.
func value(r *rules.Rule, f *schemas.Fold, window time.Duration) (float64, bool) {
	switch {
	case r.Aggregate == rules.Count:
		return float64(f.N), true
	case r.Aggregate == rules.Rate:
		return float64(f.N) / window.Seconds(), true
	case f.N == 0:
		return 0, false
	}
	switch r.Aggregate {
	case rules.Ratio:
		return float64(f.Hits) / float64(f.N), true
	case rules.Sum:
		return f.Sum.Float(), true
	case rules.Avg:
		return f.Sum.Div(f.N), true
	case rules.Min:
		return *f.Min, true
	case rules.Max:
		return *f.Max, true
	case rules.LastOf:
		return f.Last.Value, true
	case rules.Quantile:
		return quantile(f.Buckets, f.N, r.Quantile), true
	}
	return 0, false
}

// quantile is the value of the bucket that holds the sample of nearest rank:
// the ceil(q n)-th smallest of n. q counts in millionths, so that no rounding
// of a product of floats can move the rank.
func quantile(buckets []schemas.Bucket, n int64, q float64) float64 {
	const unit = 1_000_000
	part := int64(math.Round(q * unit))
	rank := n/unit*part + ceilDiv(n%unit*part, unit)
	for _, b := range buckets {
		if rank -= b.Count; rank <= 0 {
			return schemas.BucketValue(b.Index)
		}
	}
	return schemas.BucketValue(buckets[len(buckets)-1].Index)
}

// Rough sizes in a partial, in bytes, before compression.
const (
	rowSize      = 64
	lossSize     = 64
	bucketSize   = 20
	evidenceSize = 80
)

func sizeOf(ev schemas.Evidence) int {
	n := evidenceSize + len(ev.ID) + len(ev.Trace)
	for k, v := range ev.Fields {
		n += len(k) + len(v) + 6
	}
	return n
}
