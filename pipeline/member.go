package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// MemberConfig of a process that shares work with others.
type MemberConfig struct {
	// ID of the process, unlike every other's: a name in a subject. Required.
	ID string
	// TTL is how long after its last heartbeat a process counts as dead, whole
	// seconds. It beats three times in it. 0: 6 s.
	TTL time.Duration
}

// Member is this process among those that share the work. It says whose turn it
// is, which is for liveness only: that no two do the same work is the fence's
// promise, and two may well believe that it is their turn for a while. Its
// methods are safe for concurrent use.
type Member struct {
	conn    *Conn
	kv      jetstream.KeyValue
	id      string
	ttl     time.Duration
	cancel  context.CancelFunc
	done    chan struct{}
	changed chan struct{}

	mu   sync.Mutex
	live map[string]struct{}
}

// Join announces the process and learns who else is there. It beats until Leave.
// The bucket is Apply's.
func Join(ctx context.Context, c *Conn, config MemberConfig) (*Member, error) {
	if t, err := schemas.Token(config.ID); err != nil || t != config.ID {
		return nil, fmt.Errorf("join as %q: a name has 1 to %d letters, digits, _ and -", config.ID, schemas.TokenBytes)
	}
	m := &Member{
		conn: c, id: config.ID, ttl: cmp.Or(config.TTL, 6*time.Second),
		done: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	if m.ttl < time.Second || m.ttl%time.Second != 0 {
		return nil, fmt.Errorf("join as %s: time to live %s: whole seconds, at least one", m.id, m.ttl)
	}
	kv, err := c.js.KeyValue(ctx, BucketMembers)
	if err != nil {
		return nil, fmt.Errorf("join as %s: bucket %s: %w; create it with millrace apply", m.id, BucketMembers, err)
	}
	m.kv = kv
	if err := errors.Join(m.beat(ctx), m.list(ctx)); err != nil {
		return nil, fmt.Errorf("join as %s: %w", m.id, err)
	}
	run, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	go func() {
		defer close(m.done)
		m.run(run)
	}()
	return m, nil
}

// Members lists who is alive, as far as is known, this process included.
func (m *Member) Members() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.live))
}

// Assigned tells that a role, such as partials.0 or notify.slack, is this
// process's turn. Every process that sees the same members agrees, and a change
// of members moves no role between two that stay.
func (m *Member) Assigned(role string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return owner(role, m.live) == m.id
}

// Changed receives after the members changed. One value may stand for many
// changes.
func (m *Member) Changed() <-chan struct{} { return m.changed }

// owner is the member with the highest hash for the role: rendezvous hashing
// (Thaler and Ravishankar, 1998). "": nobody is there.
func owner(role string, members map[string]struct{}) string {
	best, most := "", uint64(0)
	for id := range members {
		h := sha256.Sum256([]byte(role + "\x00" + id))
		if n := binary.BigEndian.Uint64(h[:]); best == "" || n > most {
			best, most = id, n
		}
	}
	return best
}

// Leave hands all roles over at once. Call it after the last append.
func (m *Member) Leave(ctx context.Context) error {
	m.cancel()
	<-m.done
	m.mu.Lock()
	m.live = nil
	m.mu.Unlock()
	if err := m.kv.Purge(ctx, m.id, jetstream.PurgeTTL(m.ttl)); err != nil {
		return fmt.Errorf("leave as %s: %w; the others take over in %s", m.id, err, m.ttl)
	}
	return nil
}

// beat renews the process's key.
func (m *Member) beat(ctx context.Context) error {
	ctx, done := m.conn.within(ctx)
	defer done()
	_, err := m.conn.js.Publish(ctx, "$KV."+BucketMembers+"."+m.id, nil, jetstream.WithMsgTTL(m.ttl))
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// list reads who is there. A key that its member has not renewed in time is a
// ghost, though the broker still has it: one whose disk was full, or that was
// killed, may never let a key expire. The broker's own stamps are compared.
func (m *Member) list(ctx context.Context) error {
	ctx, done := m.conn.within(ctx)
	defer done()
	w, err := m.kv.WatchAll(ctx, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return fmt.Errorf("list the members: %w", err)
	}
	defer func() { _ = w.Stop() }() // the broker forgets it anyway
	beats := map[string]time.Time{}
	var newest time.Time
	for {
		select {
		case <-ctx.Done(): // the list would be cut short
			return fmt.Errorf("list the members: %w", ctx.Err())
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("list the members: it was cut short")
			}
			if e != nil {
				beats[e.Key()] = e.Created()
				if e.Created().After(newest) {
					newest = e.Created()
				}
				continue
			}
		}
		break
	}
	live := map[string]struct{}{m.id: {}}
	for id, at := range beats {
		if newest.Sub(at) <= m.ttl {
			live[id] = struct{}{}
		}
	}
	m.set(live)
	return nil
}

func (m *Member) set(live map[string]struct{}) {
	m.mu.Lock()
	same := maps.Equal(m.live, live)
	m.live = live
	m.mu.Unlock()
	if !same {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
}

// run beats and follows the others. What the watcher misses the list finds.
func (m *Member) run(ctx context.Context) {
	tick := time.NewTicker(m.ttl / 3)
	defer tick.Stop()
	var updates <-chan jetstream.KeyValueEntry
	for {
		if updates == nil {
			if w, err := m.kv.WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly()); err == nil {
				updates = w.Updates()
				defer func() { _ = w.Stop() }() // the broker forgets it anyway
			}
		}
		select {
		case <-ctx.Done():
			return
		case e, ok := <-updates:
			if !ok {
				updates = nil
				continue
			}
			if e != nil {
				m.see(e)
			}
		case <-tick.C:
			// That the connection is lost is said once, by the connection.
			if err := errors.Join(m.beat(ctx), m.list(ctx)); err != nil && ctx.Err() == nil && m.conn.Connected() {
				m.conn.log.Warn().Err(err).Msg("no heartbeat")
			}
		}
	}
}

// see takes in what the watcher tells of one member.
func (m *Member) see(e jetstream.KeyValueEntry) {
	live := map[string]struct{}{}
	m.mu.Lock()
	maps.Copy(live, m.live)
	m.mu.Unlock()
	if e.Operation() == jetstream.KeyValuePut {
		live[e.Key()] = struct{}{}
	} else if e.Key() != m.id {
		delete(live, e.Key())
	}
	m.set(live)
}
