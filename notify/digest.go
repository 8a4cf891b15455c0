package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// What bounds a digest. What is pending beyond that is told by the next one.
const (
	maxDigested   = 20_000
	digestBytes   = 64 << 20 // of the notifications in it
	digestRules   = 10       // listed with their counts
	digestedBytes = 2 << 10  // of one alert as JSON; one that is larger loses its annotations
)

// gathered is a range of notifications that are told as one. What it makes of
// them depends on nothing but the range and what NOTIFY holds in it.
type gathered struct {
	receiver string
	from     uint64 // sequence of NOTIFY
	until    uint64 // read no further
	fixed    bool   // until is the end of the range, as it is recorded

	next   uint64 // to be read
	last   uint64 // sequence of the last in it
	stored int64  // when that was, Unix ns
	count  int
	bytes  int
	only   fence.Entry          // the first in it
	tells  schemas.Notification // the last in it, without alerts
	alert  map[string]digested  // by class and identity
	left   map[string]int       // alerts that were left out, by class and group
	over   []string             // threads that are
}

// digested is what was told of an alert last.
type digested struct {
	alert schemas.Alert
	at    int // the first time, counted from 0
}

func newGathered(receiver string, from, until uint64) *gathered {
	return &gathered{receiver: receiver, from: from, until: until, next: from, alert: map[string]digested{}, left: map[string]int{}}
}

// add takes the next notification in. false: it has to be told by itself, as one
// that comes out of quarantine, or by the next digest.
func (g *gathered) add(e fence.Entry) bool {
	var n schemas.Notification
	if schemas.RedrivenTimes(e.Header) > 0 || g.count == maxDigested || g.bytes > digestBytes || schemas.DecodeInto(e.Data, &n) != nil {
		return false
	}
	if g.count == 0 {
		g.only = e
	}
	g.count, g.bytes, g.last, g.stored = g.count+1, g.bytes+len(e.Data), e.Seq, e.Time
	for _, a := range n.Alerts {
		a.Evidence = nil
		if size(a) > digestedBytes {
			a.Annotations = nil
		}
		key := string(n.Class) + "|" + alertIdentity(a)
		was, known := g.alert[key]
		if !known {
			was.at = len(g.alert)
		}
		g.alert[key] = digested{a, was.at}
	}
	g.left[string(n.Class)+"|"+n.GroupKey] = n.Truncated
	if n.Status == "resolved" {
		g.over = append(g.over, n.Thread)
	}
	n.Alerts = nil
	if n.Time >= g.tells.Time {
		g.tells = n
	}
	return true
}

// notification is the digest: those that fire first, each in the order in which
// they were told first.
func (g *gathered) notification() schemas.Notification {
	n := schemas.Notification{
		ID: digestID(g.receiver, g.from, g.last), Receiver: g.receiver, GroupKey: "digest", Class: g.tells.Class,
		Tick: g.tells.Tick, Time: g.tells.Time, Status: "resolved", Reason: "digest", Covers: g.tells.Covers,
		Digest: &schemas.Digest{Notifications: g.count},
	}
	n.Thread = n.ID
	rules := map[string]*schemas.DigestRule{}
	all := slices.SortedFunc(maps.Values(g.alert), func(a, b digested) int {
		return cmp.Or(cmp.Compare(a.alert.Status, b.alert.Status), cmp.Compare(a.at, b.at))
	})
	listed := 0
	for _, d := range all {
		rule := rules[d.alert.Rule]
		if rule == nil {
			rule = &schemas.DigestRule{Rule: d.alert.Rule}
			rules[d.alert.Rule] = rule
		}
		if d.alert.Status == "firing" {
			n.Status = "firing"
			n.Digest.Firing++
			rule.Firing++
		} else {
			n.Digest.Resolved++
			rule.Resolved++
		}
		if b := size(d.alert); len(n.Alerts) < MaxAlerts && (len(n.Alerts) == 0 || listed+b <= maxBytes) {
			listed += b
			n.Alerts = append(n.Alerts, d.alert)
		}
	}
	n.Truncated = len(all) - len(n.Alerts)
	for _, left := range g.left {
		n.Truncated += left
	}
	for _, rule := range slices.SortedFunc(maps.Values(rules), func(a, b *schemas.DigestRule) int {
		return cmp.Or(cmp.Compare(b.Firing+b.Resolved, a.Firing+a.Resolved), cmp.Compare(a.Rule, b.Rule))
	}) {
		if len(n.Digest.Rules) == digestRules {
			n.Digest.OtherRules++
			continue
		}
		n.Digest.Rules = append(n.Digest.Rules, *rule)
	}
	return n
}

// digestID is the same for the same range, whoever tells it.
func digestID(receiver string, from, to uint64) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		receiver, "digest", strconv.FormatUint(from, 10), strconv.FormatUint(to, 10),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}
