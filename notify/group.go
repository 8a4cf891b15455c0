package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/schemas"
)

// group is a set of alerts that a receiver is told about together.
type group struct {
	Class   schemas.Class      `json:"class"`
	Route   string             `json:"route"` // key
	Name    string             `json:"name"`
	Members map[string]*member `json:"members"`
	Last    int64              `json:"last,omitempty"`  // tick of the last notification; 0: none
	Since   int64              `json:"since,omitempty"` // tick of the first change that is untold; 0: none
	// Held is the tick at which the group is looked at again although nothing
	// happens, since some of it is muted; 0: nothing is.
	Held int64 `json:"held,omitempty"`
	// Thread is the ID of the notification that told of the group first since it
	// was last at rest: no alert of it that the receiver thinks fires.
	Thread string `json:"thread,omitempty"`

	untold int // members whose Firing is not what was told
	firing int
}

// member is an alert in a group.
type member struct {
	Firing bool          `json:"firing"`
	Told   bool          `json:"told"` // the receiver thinks that it fires
	Alert  schemas.Alert `json:"alert"`
}

// groupName identifies a group of a class: the route and the labels.
func groupName(r *route, labels map[string]string) string {
	var b strings.Builder
	b.WriteString(r.key + ":{")
	group := r.group(labels)
	for i, name := range slices.Sorted(maps.Keys(group)) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + "=" + strconv.Quote(group[name]))
	}
	b.WriteByte('}')
	return bounded(b.String())
}

// count recounts a member that is about to change (by -1) or has changed (+1).
func (g *group) count(m *member, by int) {
	if m.Firing != m.Told {
		g.untold += by
	}
	if m.Firing {
		g.firing += by
	}
}

func (g *group) fire(key string, t *schemas.Transition, tick int64, r *route) {
	if len(g.Members) == 0 && g.rested(tick, r) {
		g.Last = 0 // a new group to the receiver: group_wait counts again
	}
	m := g.Members[key]
	if m == nil {
		m = &member{}
		g.Members[key] = m
	}
	g.count(m, -1)
	m.Firing, m.Alert = true, newAlert(t)
	g.count(m, +1)
	g.touch(tick)
}

func (g *group) end(key string, t *schemas.Transition, tick int64) {
	m := g.Members[key]
	g.count(m, -1)
	m.Firing = false
	endAlert(&m.Alert, t)
	g.count(m, +1)
	if !m.Told {
		delete(g.Members, key) // it was never mentioned, nor will be
	}
	g.touch(tick)
}

// touch notes since when there is something to tell.
func (g *group) touch(tick int64) {
	g.Held = 0
	switch {
	case g.untold == 0:
		g.Since = 0
	case g.Since == 0:
		g.Since = tick
	}
}

// rested tells that the last notification is group_interval or longer ago.
func (g *group) rested(tick int64, r *route) bool {
	return g.Last == 0 || tick >= g.Last+r.interval
}

// due is the tick at which the group is to be looked at, MaxInt64 for never.
func (g *group) due(r *route) int64 {
	switch {
	case g.Held > 0:
		return g.Held
	case g.untold > 0 && g.Last == 0:
		return g.Since + r.wait
	case g.untold > 0:
		return max(g.Since, g.Last+r.interval)
	case g.firing > 0 && r.repeat > 0:
		return g.Last + r.repeat
	}
	return math.MaxInt64
}

// flush makes the notification that is due at a tick, if there is something to
// tell after all. Members that ended stay until drop. Of members that are muted,
// until a tick that muted gives, nothing is told; what is to be told of them
// waits.
func (g *group) flush(tick int64, r *route, sendResolved bool, muted func(*member) int64) (n schemas.Notification, told bool) {
	changes := g.untold > 0
	g.handOver()
	var began, ended, goOn []string
	mentioned := false // the receiver was told of a member that fires
	fires := false     // and thinks so afterwards
	g.untold, g.Since, g.Held = 0, 0, 0
	for key, m := range g.Members {
		mentioned = mentioned || m.Told
		if until := muted(m); until > tick && (m.Firing || m.Told) {
			fires = fires || m.Told
			if m.Firing != m.Told {
				g.untold++
			}
			if g.Held == 0 || until < g.Held {
				g.Held = until
			}
			continue
		}
		fires = fires || m.Firing
		switch {
		case m.Firing && !m.Told:
			began = append(began, key)
		case m.Firing:
			goOn = append(goOn, key)
		case m.Told && sendResolved:
			ended = append(ended, key)
		}
		m.Told = m.Firing
	}
	if g.Held > 0 { // what is muted is no change; the others may be due for a repeat
		changes = len(began)+len(ended) > 0 || len(goOn) == 0 || r.repeat == 0 || tick < g.Last+r.repeat
		defer func() { g.hold(tick, r, len(began)+len(goOn) > 0) }()
	}
	if changes && len(began)+len(ended) == 0 {
		return n, false
	}
	g.Last = tick
	n.Status = "firing"
	switch {
	case !changes:
		n.Reason = "repeat"
	case !fires:
		n.Reason, n.Status = "resolved", "resolved"
	case !mentioned:
		n.Reason = "new"
	default:
		n.Reason = "changed"
	}
	g.list(&n, began, ended, goOn)
	return n, true
}

// hold moves the tick at which a group of which some is muted is looked at
// again: not before group_interval has passed, and for a repeat.
func (g *group) hold(tick int64, r *route, fires bool) {
	if g.Last > 0 {
		g.Held = max(g.Held, g.Last+r.interval)
		if fires && r.repeat > 0 {
			g.Held = min(g.Held, g.Last+r.repeat)
		}
	}
	g.Held = max(g.Held, tick+1)
}

// handOver joins an alert that ended with one of the same name and labels that
// began: its rule was edited.
func (g *group) handOver() {
	if g.untold < 2 {
		return
	}
	keys := slices.Sorted(maps.Keys(g.Members))
	began := map[string]*member{}
	for _, key := range keys {
		if m := g.Members[key]; m.Firing && !m.Told {
			began[alertIdentity(m.Alert)] = m
		}
	}
	for _, key := range keys {
		m := g.Members[key]
		if m.Firing || !m.Told {
			continue
		}
		if heir := began[alertIdentity(m.Alert)]; heir != nil && !heir.Told {
			heir.Told, m.Told = true, false
		}
	}
}

// believed tells that the receiver thinks that an alert of the group fires.
func (g *group) believed() bool {
	for _, m := range g.Members {
		if m.Told {
			return true
		}
	}
	return false
}

// drop removes the members that ended and gives their keys.
func (g *group) drop() []string {
	var gone []string
	for key, m := range g.Members {
		if !m.Firing && !m.Told {
			delete(g.Members, key)
			gone = append(gone, key)
		}
	}
	return gone
}

// notificationID is the same for the same notification, whoever plans it.
func notificationID(n schemas.Notification) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		n.Receiver, n.GroupKey, string(n.Class), strconv.FormatInt(n.Tick, 10), n.Reason,
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}
