package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Silences are the stored silences of a deployment. Its methods may be called at
// once.
type Silences struct {
	conn *Conn

	mu       sync.Mutex
	known    map[string]schemas.Silence
	revision uint64 // 0: not known yet
}

// NewSilences makes a view of the stored silences.
func NewSilences(c *Conn) *Silences { return &Silences{conn: c} }

// bucket opens the bucket.
func (s *Silences) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.conn.js.KeyValue(ctx, BucketSilences)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w; create it with millrace apply", BucketSilences, err)
	}
	return kv, nil
}

// Put stores a silence under its ID, instead of one that was there. nil: it is
// stored.
func (s *Silences) Put(ctx context.Context, silence schemas.Silence) error {
	ctx, done := s.conn.within(ctx)
	defer done()
	data, err := json.Marshal(silence)
	if err != nil {
		return fmt.Errorf("store silence %s: %w", silence.ID, err)
	}
	kv, err := s.bucket(ctx)
	if err == nil {
		_, err = kv.Put(ctx, silence.ID, data)
	}
	if err != nil {
		return fmt.Errorf("store silence %s: %w", silence.ID, err)
	}
	return nil
}

// List reads the stored silences, those that are over too, in the order of their
// making. What cannot be read is left out.
func (s *Silences) List(ctx context.Context) ([]schemas.Silence, error) {
	ctx, done := s.conn.within(ctx)
	defer done()
	out := map[string]schemas.Silence{}
	err := s.each(ctx, func(e jetstream.KeyValueEntry) error {
		note(out, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the silences: %w", err)
	}
	return inOrder(out), nil
}

// each reads every entry of the bucket, until f fails.
func (s *Silences) each(ctx context.Context, f func(jetstream.KeyValueEntry) error) error {
	kv, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	keys, err := kv.Keys(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		return err
	}
	for _, key := range keys {
		e, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err == nil {
			err = f(e)
		}
		if err != nil {
			return fmt.Errorf("silence %s: %w", key, err)
		}
	}
	return ctx.Err() // the list may be cut short
}

// Forget removes the silences that were over before a time, with all that they
// were before. One that is put again meanwhile stays, and so does what cannot be
// read. Who follows them is not told.
func (s *Silences) Forget(ctx context.Context, before time.Time) error {
	ctx, done := s.conn.within(ctx)
	defer done()
	stream, err := s.conn.stream(ctx, "KV_"+BucketSilences)
	if err != nil {
		return fmt.Errorf("forget silences: %w", err)
	}
	err = s.each(ctx, func(e jetstream.KeyValueEntry) error {
		var silence schemas.Silence
		if over := json.Unmarshal(e.Value(), &silence) == nil && silence.Ends < before.UnixNano(); !over {
			return nil
		}
		return stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+BucketSilences+"."+e.Key()), jetstream.WithPurgeSequence(e.Revision()+1))
	})
	if err != nil {
		return fmt.Errorf("forget silences: %w", err)
	}
	return nil
}

// Current gives the silences as Run knows them, and a number that is another when
// they are; 0: nothing is known yet.
func (s *Silences) Current() (revision uint64, list []schemas.Silence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision, inOrder(s.known)
}

// Run follows the stored silences until ctx ends.
func (s *Silences) Run(ctx context.Context) error {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for ctx.Err() == nil {
		if err := s.follow(ctx); err != nil && ctx.Err() == nil {
			s.conn.log.Warn().Err(err).Msg("follow the silences")
		}
		select {
		case <-ctx.Done():
		case <-retry.C:
		}
	}
	return nil
}

// follow reads all silences and then what changes, until the watcher ends.
func (s *Silences) follow(ctx context.Context) error {
	kv, err := s.bucket(ctx)
	if err != nil {
		return err
	}
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer func() { _ = watcher.Stop() }() // the broker forgets it anyway
	known, whole := map[string]schemas.Silence{}, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-watcher.Updates():
			if !ok {
				return errors.New("the watcher ended")
			}
			if e == nil {
				whole = true
			} else {
				note(known, e)
			}
		}
		if whole {
			s.mu.Lock()
			s.known = maps.Clone(known)
			s.revision++
			s.mu.Unlock()
		}
	}
}

// note takes in an entry of the bucket.
func note(known map[string]schemas.Silence, e jetstream.KeyValueEntry) {
	var silence schemas.Silence
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &silence) != nil || silence.ID != e.Key() {
		delete(known, e.Key())
		return
	}
	known[e.Key()] = silence
}

func inOrder(known map[string]schemas.Silence) []schemas.Silence {
	return slices.SortedFunc(maps.Values(known), func(a, b schemas.Silence) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
}
