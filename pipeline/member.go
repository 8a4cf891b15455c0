package pipeline

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Heartbeats: a member that died is missed after memberTTL.
const (
	memberTTL   = 6 * time.Second
	memberBeat  = 2 * time.Second
	memberWatch = time.Second // between two looks at the others, when no change is told
)

// MemberConfig of a member.
type MemberConfig struct {
	// ID of the member, one token. "": a random one. A process that starts again
	// is another member.
	ID string
	// Logger gets who comes and goes. The zero value says nothing.
	Logger zerolog.Logger
}

// Member is a process among those that share the machines of a deployment. What
// it says is about speed alone: two members may both believe for a while that a
// machine is theirs, and the fence decides. Its methods are safe for concurrent
// use.
type Member struct {
	conn    *Conn
	kv      jetstream.KeyValue
	id      string
	log     zerolog.Logger
	changed chan struct{}
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu    sync.Mutex
	alive []string // ids, ascending
}

// Join makes the process a member and returns when it knows the others. It beats
// until Leave.
func Join(ctx context.Context, c *Conn, config MemberConfig) (*Member, error) {
	kv, err := c.js.KeyValue(ctx, BucketMembers)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("join: no bucket %s; create it with millrace apply: %w", BucketMembers, err)
	}
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	m := &Member{conn: c, kv: kv, id: cmp.Or(config.ID, rand.Text()), log: config.Logger, changed: make(chan struct{}, 1)}
	if err := m.beat(ctx); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := m.look(ctx); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel = cancel
	m.done.Go(func() { m.run(run) })
	return m, nil
}

// ID of the member.
func (m *Member) ID() string { return m.id }

// Changed receives after members came or went. One value may stand for several
// changes.
func (m *Member) Changed() <-chan struct{} { return m.changed }

// Assigned tells whether a role is this member's: it has the highest weight for
// it among those alive (rendezvous hashing), so that a member that comes takes
// only what becomes its own, and one that goes leaves the rest where it is.
func (m *Member) Assigned(role string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return owner(role, m.alive) == m.id
}

func owner(role string, members []string) string {
	var best string
	var most uint64
	for _, id := range members {
		h := fnv.New64a()
		_, _ = h.Write([]byte(id + "\x00" + role)) // never fails
		// FNV of texts that differ in their ends differs little in the high bits.
		if w := mix(h.Sum64()); best == "" || w > most {
			best, most = id, w
		}
	}
	return best
}

// mix is the finalizer of MurmurHash3 (Austin Appleby, public domain).
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Leave ends the membership, so that the others take over at once. Call it when
// the machines of this process have made their last append.
func (m *Member) Leave() error {
	m.cancel()
	m.done.Wait()
	ctx, done := m.conn.within(context.Background())
	defer done()
	if err := m.kv.Purge(ctx, m.id); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// run beats and looks until ctx ends. A watch tells of changes at once; the
// looks make sure when it is stuck.
func (m *Member) run(ctx context.Context) {
	beat, look := time.NewTicker(memberBeat), time.NewTicker(memberWatch)
	defer beat.Stop()
	defer look.Stop()
	watcher := m.watch(ctx)
	for {
		var updates <-chan jetstream.KeyValueEntry
		if watcher != nil {
			updates = watcher.Updates()
		}
		var err error
		select {
		case <-ctx.Done():
			if watcher != nil {
				_ = watcher.Stop() // the broker forgets it anyway
			}
			return
		case <-beat.C:
			err = m.beat(ctx)
		case <-look.C:
			err = m.look(ctx)
		case e, open := <-updates:
			switch {
			case !open:
				watcher = nil // the looks go on
			case e != nil && (e.Key() == m.id || e.Operation() == jetstream.KeyValuePut && m.knows(e.Key())):
				// A beat of somebody known.
			default:
				err = m.look(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			m.log.Warn().Err(err).Msg("membership")
		}
	}
}

func (m *Member) watch(ctx context.Context) jetstream.KeyWatcher {
	w, err := m.kv.WatchAll(ctx, jetstream.UpdatesOnly())
	if err != nil {
		m.log.Warn().Err(err).Msg("watch the members")
		return nil
	}
	return w
}

func (m *Member) knows(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := slices.BinarySearch(m.alive, id)
	return ok
}

// beat says that the member is alive, for memberTTL.
func (m *Member) beat(ctx context.Context) error {
	ctx, done := m.conn.within(ctx)
	defer done()
	// The client's Put has no lifetime; the message behind it has.
	msg := &nats.Msg{Subject: "$KV." + BucketMembers + "." + m.id}
	if _, err := m.conn.js.PublishMsg(ctx, msg, jetstream.WithMsgTTL(memberTTL)); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

// look lists who is alive.
func (m *Member) look(ctx context.Context) error {
	ctx, done := m.conn.within(ctx)
	defer done()
	lister, err := m.kv.ListKeys(ctx)
	if err != nil {
		return fmt.Errorf("list the members: %w", err)
	}
	found := map[string]bool{m.id: true}
	for id := range lister.Keys() {
		found[id] = true
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("list the members: %w", err) // the list may be cut
	}
	alive := slices.Sorted(maps.Keys(found))
	m.mu.Lock()
	same := slices.Equal(m.alive, alive)
	m.alive = alive
	m.mu.Unlock()
	if !same {
		m.log.Debug().Strs("members", alive).Msg("membership")
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	return nil
}
