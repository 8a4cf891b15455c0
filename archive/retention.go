package archive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Retention is the part of a commit that takes segments away. A segment goes in
// two steps: it is condemned, and nobody reads it from there on; when those who
// began to read it before have ended, it is removed. In between it can be spared.
type Retention struct {
	At  int64  `json:"at"` // by the worker's clock, Unix ns
	By  string `json:"by"` // who did it
	Why string `json:"why"`
	// Condemned are the segments that are not read any more, as they were committed.
	Condemned []Segment `json:"condemned,omitempty"`
	// Spared are the keys of condemned segments that are read again.
	Spared []string `json:"spared,omitempty"`
	// Removed are the keys of condemned segments whose objects are removed from here
	// on. There is no way back.
	Removed []string `json:"removed,omitempty"`
}

// Tombstone is what stays of a segment: what it was, and why it went.
type Tombstone struct {
	Segment
	At  int64  `json:"at"` // when it was condemned, Unix ns
	By  string `json:"by"`
	Why string `json:"why"`
	// Removed is from when on its objects are removed, Unix ns; 0: they wait.
	Removed int64 `json:"removed,omitzero"`
}

func (t Tombstone) String() string {
	return fmt.Sprintf("%d to %d (%d messages) were deleted by retention on %s: %s", t.First, t.Last, t.Messages, dayOf(t.At), t.Why)
}

// Retain commits what retention decided. What is there stays readable to whoever
// read the manifest before. ErrExists: somebody else committed meanwhile; read the
// manifest again.
func (m *Manifest) Retain(ctx context.Context, store Store, r Retention) error {
	return m.commit(ctx, store, Commit{Format: 2, Retention: &r})
}

// retain applies what retention decided.
func (m *Manifest) retain(r *Retention) error {
	segments, deleted := slices.Clone(m.Segments), slices.Clone(m.Deleted)
	for _, s := range r.Condemned {
		i := slices.Index(segments, s)
		if i < 0 {
			return fmt.Errorf("it condemns %s, which is no segment of this chain", s.Key)
		}
		segments = slices.Delete(segments, i, i+1)
		deleted = append(deleted, Tombstone{Segment: s, At: r.At, By: r.By, Why: r.Why})
	}
	waiting := func(key string) (int, error) {
		i := slices.IndexFunc(deleted, func(t Tombstone) bool { return t.Key == key && t.Removed == 0 })
		if i < 0 {
			return 0, fmt.Errorf("it decides about %s, which is not condemned", key)
		}
		return i, nil
	}
	for _, key := range r.Spared {
		i, err := waiting(key)
		if err != nil {
			return err
		}
		segments = append(segments, deleted[i].Segment)
		deleted = slices.Delete(deleted, i, i+1)
	}
	for _, key := range r.Removed {
		i, err := waiting(key)
		if err != nil {
			return err
		}
		deleted[i].Removed = r.At
	}
	slices.SortFunc(segments, Segment.compare)
	slices.SortFunc(deleted, func(a, b Tombstone) int { return a.Segment.compare(b.Segment) })
	m.Segments, m.Deleted = segments, deleted
	return nil
}

// compare orders the segments of a chain. One that only ends a day begins where
// the next does.
func (s Segment) compare(t Segment) int {
	return cmp.Or(cmp.Compare(s.First, t.First), cmp.Compare(s.Last, t.Last))
}

// owner is what became of an object that was compacted: the tombstone of its
// segment, with no time if that is to be read. An object without messages, which
// only ends a day, begins behind what its segment covers.
func (m *Manifest) owner(n Name) (owner Tombstone) {
	look := func(t Tombstone) {
		if n.Day == t.Day && t.First <= n.First && n.First <= t.Last+1 && t.First >= owner.First {
			owner = t
		}
	}
	for _, s := range m.Segments {
		look(Tombstone{Segment: s})
	}
	for _, t := range m.Deleted {
		look(t)
	}
	return owner
}

// Leftovers are the objects in the store of what is to be removed: segments, and
// objects that they replaced. Ghosts that somebody put there who slept are among
// them.
func (m *Manifest) Leftovers(ctx context.Context, store Store) (out []Object, err error) {
	dead, through := map[string]bool{}, uint64(0)
	for _, t := range m.Deleted {
		if t.Removed > 0 {
			dead[t.Key], through = true, t.Last
		}
	}
	if len(dead) == 0 {
		return nil, nil
	}
	for o, err := range store.List(ctx, "l1/"+m.Chain.String()+"/", "") {
		if err != nil {
			return nil, err
		}
		if dead[o.Key] {
			out = append(out, o)
		}
	}
	beside, err := m.Compacted(ctx, store, through+1)
	if err != nil {
		return nil, err
	}
	for _, o := range beside {
		if n, err := ParseKey(o.Key); err == nil && m.owner(n).Removed > 0 {
			out = append(out, o)
		}
	}
	return out, nil
}

// Beside are those of the objects which Compacted lists that a segment replaced.
func (m *Manifest) Beside(s Segment, compacted []Object) (out []Object) {
	for _, o := range compacted {
		if n, err := ParseKey(o.Key); err == nil && m.owner(n).Key == s.Key {
			out = append(out, o)
		}
	}
	return out
}

// Deletion is a range of sequences that retention deleted.
type Deletion struct {
	Chain Chain
	Tombstone
}

// Deletions lists what retention deleted of a class and stream, "" for every one,
// chain by chain, ascending. What is condemned and not removed yet is among it.
func Deletions(ctx context.Context, store Store, class, stream string) ([]Deletion, error) {
	all, _, err := chains(ctx, store, class, stream)
	if err != nil {
		return nil, err
	}
	var out []Deletion
	for _, c := range all {
		m, err := ReadManifest(ctx, store, c)
		if err != nil {
			return nil, err
		}
		for _, t := range m.Deleted {
			out = append(out, Deletion{c, t})
		}
	}
	return out, nil
}
