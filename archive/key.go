package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// Epoch tells apart what a stream of the same name has been: when it was
// created, and how often its sequences were rewound since.
type Epoch struct {
	Created    int64 // Unix ns
	Generation int
	// Lost numbers the tails that the stream lost and that are in none of its
	// generations; 0: it is a generation.
	Lost int `json:",omitzero"`
}

// String is the epoch as it stands in keys: <created in base 36>[-<generation>], or
// <created in base 36>-lost<number>.
func (e Epoch) String() string {
	s := strconv.FormatInt(e.Created, 36)
	switch {
	case e.Lost > 0:
		s += "-lost" + strconv.Itoa(e.Lost)
	case e.Generation > 0:
		s += "-" + strconv.Itoa(e.Generation)
	}
	return s
}

func parseEpoch(s string) (Epoch, error) {
	created, number, more := strings.Cut(s, "-")
	var e Epoch
	var err1, err2 error
	e.Created, err1 = strconv.ParseInt(created, 36, 64)
	if lost, ok := strings.CutPrefix(number, "lost"); ok {
		e.Lost, err2 = strconv.Atoi(lost)
	} else if more {
		e.Generation, err2 = strconv.Atoi(number)
	}
	if err1 != nil || err2 != nil || e.Created < 0 || e.Generation < 0 || e.Lost < 0 || e.String() != s {
		return Epoch{}, fmt.Errorf("epoch %q is not <created>[-<generation>] or <created>-lost<number>", s)
	}
	return e, nil
}

// Chain names a sequence of objects without gap or overlap: what one epoch of a
// stream held.
type Chain struct {
	Class  string // what is kept alike: telemetry, audit, alerts, control
	Stream string
	Epoch  Epoch
}

func (c Chain) String() string { return c.Class + "/" + c.Stream + "/" + c.Epoch.String() }

func (c Chain) prefix() string { return "l0/" + c.String() + "/" }

// compare orders chains by class, stream and creation, lost tails behind the
// generations.
func (c Chain) compare(d Chain) int {
	return cmp.Or(
		strings.Compare(c.Class, d.Class),
		strings.Compare(c.Stream, d.Stream),
		cmp.Compare(c.Epoch.Created, d.Epoch.Created),
		cmp.Compare(c.Epoch.Lost, d.Epoch.Lost),
		cmp.Compare(c.Epoch.Generation, d.Epoch.Generation),
	)
}

// Latest is the chain in which a stream is archived: the last of those that are given,
// in order, that is no lost tail.
func Latest(list []Chain) (c Chain, ok bool) {
	for _, c := range slices.Backward(list) {
		if c.Epoch.Lost == 0 {
			return c, true
		}
	}
	return Chain{}, false
}

// ClassAudit is the second name of every key of the audit trail.
const ClassAudit = string(schemas.AuditTrail)

// classOf is the class under which a stream is archived.
func classOf(stream string) (string, error) {
	switch stream {
	case schemas.StreamAudit:
		return ClassAudit, nil
	case schemas.StreamAlerts:
		return "alerts", nil
	case schemas.StreamControl:
		return "control", nil
	}
	if n, ok := strings.CutPrefix(stream, "EVENTS_"); ok {
		if p, err := schemas.ParsePartition(n); err == nil && p != schemas.Audit {
			return string(p.Class()), nil
		}
	}
	return "", fmt.Errorf("stream %q is not archived: want EVENTS_<p>, AUDIT, ALERTS or CONTROL", stream)
}

// Name is what an object's key says.
type Name struct {
	Chain
	Day   string // UTC day of arrival, 2006-01-02
	First uint64 // the first sequence that it covers
}

// Key is the object's key.
func (n Name) Key() string {
	return fmt.Sprintf("%sdt=%s/%020d%s", n.prefix(), n.Day, n.First, suffix)
}

const suffix = ".jsonl.zst"

// before tells whether an object lies before another of its chain. One that only
// ends a day begins where the next does.
func (n Name) before(m Name) bool { return n.First < m.First || n.First == m.First && n.Day < m.Day }

// ParseKey is the inverse of Key.
func ParseKey(key string) (Name, error) {
	var n Name
	part := strings.Split(key, "/")
	if len(part) != 6 || part[0] != "l0" {
		return n, fmt.Errorf("key %q is not l0/<class>/<stream>/<epoch>/dt=<day>/<first>%s", key, suffix)
	}
	n.Class, n.Stream = part[1], part[2]
	var err1, err2, err3 error
	n.Epoch, err1 = parseEpoch(part[3])
	n.Day = strings.TrimPrefix(part[4], "dt=")
	_, err2 = time.Parse(time.DateOnly, n.Day)
	n.First, err3 = strconv.ParseUint(strings.TrimSuffix(part[5], suffix), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || n.Key() != key {
		return n, fmt.Errorf("key %q is not l0/<class>/<stream>/<epoch>/dt=<day>/<first>%s", key, suffix)
	}
	return n, nil
}

// SegmentKey is the key of a segment.
func SegmentKey(c Chain, day string, first, last uint64) string {
	return fmt.Sprintf("l1/%s/dt=%s/%020d-%020d.parquet", c, day, first, last)
}

// parseSegmentKey gives the chain of a segment's key.
func parseSegmentKey(key string) (c Chain, err error) {
	wrong := fmt.Errorf("key %q is not l1/<class>/<stream>/<epoch>/dt=<day>/<first>-<last>.parquet", key)
	part := strings.Split(key, "/")
	if len(part) != 6 || part[0] != "l1" {
		return c, wrong
	}
	c.Class, c.Stream = part[1], part[2]
	if c.Epoch, err = parseEpoch(part[3]); err != nil {
		return c, wrong
	}
	from, to, _ := strings.Cut(strings.TrimSuffix(part[5], ".parquet"), "-")
	first, err1 := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	if err1 != nil || err2 != nil || SegmentKey(c, strings.TrimPrefix(part[4], "dt="), first, last) != key {
		return c, wrong
	}
	return c, nil
}

// dayOf is the UTC day of a time, Unix ns.
func dayOf(t int64) string { return time.Unix(0, t).UTC().Format(time.DateOnly) }
