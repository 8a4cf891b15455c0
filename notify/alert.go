package notify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dermai/millrace/schemas"
)

// What bounds a notification, which must fit a message and a head.
const (
	MaxAlerts    = 50        // listed in one notification; the others are counted
	maxBytes     = 256 << 10 // of the listed alerts as JSON; the first alert is always listed
	maxAlert     = 64 << 10  // of one alert as JSON; one that is larger loses annotations and evidence
	maxText      = 1 << 10   // of one name or value; longer ones are cut, and end in "..."
	maxEntries   = 32        // of labels, of annotations and of fields, in the order of their names
	boundedBytes = 512       // of a name that serves as a key
)

// newAlert is what a receiver is told of an alert that begins to fire. Only
// labels, annotations and the evidence's references and allow-listed fields are
// taken from events.
func newAlert(t *schemas.Transition) schemas.Alert {
	a := schemas.Alert{
		Alert: cut(t.Alert), Rule: cut(t.Rule), Status: "firing", Starts: t.Time, N: t.N, Value: t.Value,
		Labels: cutAll(t.Labels), Annotations: cutAll(t.Annotations), Why: cut(t.Why), Suspect: t.Suspect,
	}
	for i := range min(len(t.Evidence), schemas.EvidenceLimit) {
		e := t.Evidence[i]
		e.ID, e.Trace, e.Fields = cut(e.ID), cut(e.Trace), cutAll(e.Fields)
		a.Evidence = append(a.Evidence, e)
	}
	if size(a) > maxAlert {
		a.Annotations, a.Evidence = nil, nil
	}
	if size(a) > maxAlert {
		a.Labels = nil
	}
	return a
}

// endAlert notes how the alert ended. What made it fire stays.
func endAlert(a *schemas.Alert, t *schemas.Transition) {
	a.Status, a.Ends, a.N, a.Value, a.Why, a.Suspect = "resolved", t.Time, t.N, t.Value, cut(t.Why), t.Suspect
}

// alertIdentity is the same for alerts that a reader takes for one.
func alertIdentity(a schemas.Alert) string {
	b, _ := json.Marshal([]any{a.Alert, a.Labels}) //nolint:errchkjson // strings only: cannot fail
	return string(b)
}

// list puts the alerts of a group into a notification: those that began, those
// that ended, those that go on; each by name.
func (g *group) list(n *schemas.Notification, sections ...[]string) {
	bytes := 0
	for _, keys := range sections {
		slices.SortFunc(keys, func(a, b string) int {
			x, y := g.Members[a].Alert, g.Members[b].Alert
			return cmp.Or(cmp.Compare(x.Alert, y.Alert), cmp.Compare(a, b))
		})
		for _, key := range keys {
			a := g.Members[key].Alert
			if len(n.Alerts) < MaxAlerts {
				bytes += size(a)
			}
			if len(n.Alerts) >= MaxAlerts || (len(n.Alerts) > 0 && bytes > maxBytes) {
				n.Truncated++
				continue
			}
			n.Alerts = append(n.Alerts, a)
		}
	}
}

func size(a schemas.Alert) int {
	b, _ := json.Marshal(a) //nolint:errchkjson // numbers come from JSON: cannot fail
	return len(b)
}

// cut shortens a text on a rune's edge, and makes it valid UTF-8.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	return s[:edge(s, maxText-3)] + "..."
}

// edge is the largest n that is not inside a rune.
func edge(s string, n int) int {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

func cutAll(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) == maxEntries {
			break
		}
		out[cut(k)] = cut(m[k])
	}
	return out
}

// bounded keeps a key short and different from every other.
func bounded(s string) string {
	if len(s) <= boundedBytes {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:edge(s, boundedBytes-33)] + "~" + hex.EncodeToString(sum[:16])
}
