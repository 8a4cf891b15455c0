package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// Segment is an L1 object: what some objects of a chain that follow each other
// held, without their frames.
type Segment struct {
	Key      string `json:"key"`
	Day      string `json:"day"` // UTC day of arrival of all that is in it
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Messages uint64 `json:"messages"`
	Rows     uint64 `json:"rows"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"` // of the object, hex
	// Digest is the SHA-256 of its messages, however they are stored, hex.
	Digest      string `json:"digest"`
	ArrivalFrom int64  `json:"arrival_from"` // running maximum before First, Unix ns
	ArrivalTo   int64  `json:"arrival_to"`   // and at Last
	// EventFrom and EventTo bound the events' own times, Unix ns; 0 and 0: there is
	// no event.
	EventFrom int64 `json:"event_from,omitzero"`
	EventTo   int64 `json:"event_to,omitzero"`
	Committed int64 `json:"committed"` // by the compactor's clock, Unix ns
}

// Commit is one entry of a manifest. In format 1 it puts a segment in the place of
// the objects behind those that the commit before replaced; in format 2 it takes
// segments away. Fields are only ever added.
type Commit struct {
	Format  int     `json:"format"`
	Chain   string  `json:"chain"`
	Version uint64  `json:"version"` // from 1, without gap
	Prev    string  `json:"prev,omitempty"`
	Segment Segment `json:"segment,omitzero"`
	// Objects are the indexes of the objects that are replaced, as they stand in
	// them: the chain of hashes goes on through them when the objects are gone.
	Objects   []string   `json:"objects,omitempty"`
	Retention *Retention `json:"retention,omitempty"`
}

// Manifest says what of a chain was compacted: everything before Tip. It is a
// value; a later look may find more.
type Manifest struct {
	Chain    Chain
	Version  uint64      // of the last commit, 0 for none
	Hash     string      // of the last commit
	Segments []Segment   // that are to be read, ascending
	Deleted  []Tombstone // of those that are not, ascending
	Tip      Tip         // behind the last object that was replaced; zero if Version is 0

	checkpointed uint64 // version of the last checkpoint
}

// Through is the last sequence that is compacted, 0 for none.
func (m *Manifest) Through() uint64 {
	if m.Version == 0 {
		return 0
	}
	return m.Tip.First - 1
}

// ManifestError says that a manifest or a declaration is not as it was written. No
// retry mends it.
type ManifestError struct {
	Key  string // of the commit, checkpoint or declaration
	What string
}

func (e *ManifestError) Error() string { return e.Key + ": " + e.What }

// Permanent tells that trying again is of no use.
func (e *ManifestError) Permanent() bool { return true }

// checkpoint is what a commit of a segment leaves for readers, a hundred commits
// behind the checkpoint before.
type checkpoint struct {
	Format   int         `json:"format"` // 1
	Version  uint64      `json:"version"`
	Hash     string      `json:"hash"`
	Segments []Segment   `json:"segments"` // the last is that of the commit
	Deleted  []Tombstone `json:"deleted,omitempty"`
}

const checkpointEvery = 100

func commitKey(c Chain, version uint64) string {
	return fmt.Sprintf("manifest/%s/%020d.json", c, version)
}

func checkpointKey(c Chain, version uint64) string {
	return fmt.Sprintf("checkpoint/%s/%020d.json", c, version)
}

// ReadManifest reads what was compacted of a chain. Read it before objects are
// listed, so that each is seen, or its segment.
func ReadManifest(ctx context.Context, store Store, c Chain) (*Manifest, error) {
	m, err := readManifest(ctx, store, c, true, func(*Commit) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", c, err)
	}
	return m, nil
}

// readManifest gives each commit that it reads to fn: all of them, or those from
// the last checkpoint on.
func readManifest(ctx context.Context, store Store, c Chain, fast bool, fn func(*Commit) error) (*Manifest, error) {
	m := &Manifest{Chain: c}
	if fast {
		if err := m.fromCheckpoint(ctx, store, fn); err != nil {
			return nil, err
		}
	}
	prefix := "manifest/" + c.String() + "/"
	for o, err := range store.List(ctx, prefix, commitKey(c, m.Version)) {
		if err != nil {
			return nil, err
		}
		if o.Key != commitKey(c, m.Version+1) {
			return nil, &ManifestError{o.Key, commitKey(c, m.Version+1) + " should follow"}
		}
		if err := m.follow(ctx, store, fn); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Manifest) fromCheckpoint(ctx context.Context, store Store, fn func(*Commit) error) error {
	last := ""
	for o, err := range store.List(ctx, "checkpoint/"+m.Chain.String()+"/", "") {
		if err != nil {
			return err
		}
		last = o.Key
	}
	if last == "" {
		return nil
	}
	var p checkpoint
	if err := readJSON(ctx, store, last, &p); err != nil {
		return err
	}
	if p.Format != 1 || checkpointKey(m.Chain, p.Version) != last || len(p.Segments) == 0 {
		return &ManifestError{last, "it is no checkpoint of this chain and version"}
	}
	// Its last commit is read again, for what stands in no checkpoint.
	m.Version, m.Segments, m.Deleted, m.checkpointed = p.Version-1, p.Segments[:len(p.Segments)-1], p.Deleted, p.Version
	commit, hash, err := readCommit(ctx, store, m.Chain, p.Version)
	if err != nil {
		return err
	}
	if hash != p.Hash {
		return &ManifestError{last, fmt.Sprintf("it names another commit %d than there is", p.Version)}
	}
	m.Hash, m.Tip.First = commit.Prev, commit.Segment.First
	return m.apply(commit, hash, fn)
}

func readCommit(ctx context.Context, store Store, c Chain, version uint64) (*Commit, string, error) {
	key := commitKey(c, version)
	b, err := ReadAll(ctx, store, key)
	if err != nil {
		return nil, "", err
	}
	var commit Commit
	if err := json.Unmarshal(b, &commit); err != nil {
		return nil, "", &ManifestError{key, err.Error()}
	}
	known := commit.Format == 1 && commit.Retention == nil || commit.Format == 2 && commit.Retention != nil
	if !known || commit.Chain != c.String() || commit.Version != version {
		return nil, "", &ManifestError{key, fmt.Sprintf("it is format %d, %s, version %d", commit.Format, commit.Chain, commit.Version)}
	}
	h := sha256.Sum256(b)
	return &commit, hex.EncodeToString(h[:]), nil
}

func (m *Manifest) follow(ctx context.Context, store Store, fn func(*Commit) error) error {
	commit, hash, err := readCommit(ctx, store, m.Chain, m.Version+1)
	if err != nil {
		return err
	}
	return m.apply(commit, hash, fn)
}

// apply moves the manifest behind a commit.
func (m *Manifest) apply(c *Commit, hash string, fn func(*Commit) error) error {
	s := &c.Segment
	wrong := func(what string) error {
		return &ManifestError{commitKey(m.Chain, c.Version), what}
	}
	if c.Prev != m.Hash {
		return wrong("it follows another commit than the one before it")
	}
	if c.Retention != nil {
		if err := m.retain(c.Retention); err != nil {
			return wrong(err.Error())
		}
		m.Version, m.Hash = c.Version, hash
		return fn(c)
	}
	if first := max(m.Through()+1, m.Tip.First); s.First != first || len(c.Objects) == 0 {
		return wrong(fmt.Sprintf("its segment begins at %d, not %d", s.First, first))
	}
	var tip Tip
	for i, text := range c.Objects {
		x, h, err := parseCarried(text)
		if err != nil {
			return wrong(err.Error())
		}
		n := Name{m.Chain, x.Day, x.First}
		if i > 0 {
			err = tip.Follow(n, x, h)
		} else {
			err = x.check(n)
			tip = tipAfter(n, x, h)
		}
		if err == nil && x.Day != s.Day {
			err = errors.New("it is of another day than its segment")
		}
		if err != nil {
			return wrong(fmt.Sprintf("object %s: %v", n.Key(), err))
		}
	}
	if tip.First != s.Last+1 || s.Key != SegmentKey(m.Chain, s.Day, s.First, s.Last) {
		return wrong(fmt.Sprintf("its segment is %s and ends at %d, but its objects end at %d", s.Key, s.Last, tip.First-1))
	}
	m.Version, m.Hash, m.Tip = c.Version, hash, tip
	m.Segments = append(m.Segments, *s)
	return fn(c)
}

func parseCarried(text string) (*Index, string, error) {
	h := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(h[:])
	x, err := parseIndex([]byte(text), hash)
	return x, hash, err
}

// Commit puts a segment, which must be durable and whole, in the place of the
// objects with these indexes, and moves the manifest behind it. ErrExists: another
// compactor was faster, or this one was before; read the manifest again.
func (m *Manifest) Commit(ctx context.Context, store Store, s Segment, objects []string) error {
	if err := m.commit(ctx, store, Commit{Format: 1, Segment: s, Objects: objects}); err != nil {
		return err
	}
	if m.Version-m.checkpointed < checkpointEvery {
		return nil
	}
	return m.checkpoint(ctx, store)
}

// commit puts the next commit and moves the manifest behind it.
func (m *Manifest) commit(ctx context.Context, store Store, c Commit) error {
	c.Chain, c.Version, c.Prev = m.Chain.String(), m.Version+1, m.Hash
	key := commitKey(m.Chain, c.Version)
	b, err := json.Marshal(&c)
	if err != nil {
		return fmt.Errorf("commit %s: %w", key, err)
	}
	h := sha256.Sum256(b)
	next := *m
	next.Segments = slices.Clone(m.Segments)
	if err := next.apply(&c, hex.EncodeToString(h[:]), func(*Commit) error { return nil }); err != nil {
		return err
	}
	if err := store.Put(ctx, key, bytes.NewReader(b), int64(len(b))); err != nil {
		return err
	}
	*m = next
	return nil
}

// checkpoint leaves one for readers. Without it they only read more.
func (m *Manifest) checkpoint(ctx context.Context, store Store) error {
	err := putJSON(ctx, store, checkpointKey(m.Chain, m.Version), &checkpoint{1, m.Version, m.Hash, m.Segments, m.Deleted})
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("checkpoint of %s: %w", m.Chain, err)
	}
	m.checkpointed = m.Version
	return nil
}

// holds tells whether a segment that is to be read may hold something of a range of
// sequences that arrived since a time.
func (m *Manifest) holds(from, to uint64, since int64) bool {
	return slices.ContainsFunc(m.Segments, func(s Segment) bool {
		return s.Messages > 0 && s.First <= to && s.Last >= from && s.ArrivalTo >= since
	})
}

// Chains lists the chains of a class and stream, "" for every one.
func Chains(ctx context.Context, store Store, class, stream string) ([]Chain, error) {
	found, _, err := chains(ctx, store, class, stream)
	return found, err
}

// ParseChain is the inverse of Chain.String.
func ParseChain(s string) (c Chain, err error) {
	part := strings.Split(s, "/")
	if len(part) != 3 {
		return c, fmt.Errorf("chain %s is not <class>/<stream>/<epoch>", strconv.Quote(s))
	}
	c.Class, c.Stream = part[0], part[1]
	c.Epoch, err = parseEpoch(part[2])
	return c, err
}

// Rest lists the objects that follow what is compacted, in order.
func (m *Manifest) Rest(ctx context.Context, store Store) ([]Named, error) {
	var out []Named
	for o, err := range store.List(ctx, m.Chain.prefix(), m.Tip.Key) {
		if err != nil {
			return nil, err
		}
		n, err := ParseKey(o.Key)
		if err != nil {
			return nil, err
		}
		if n.First > m.Through() { // otherwise somebody's who slept
			out = append(out, Named{o, n})
		}
	}
	return out, nil
}

// Compacted lists the objects that segments replaced and that are still there, as
// far as they cover nothing behind through.
func (m *Manifest) Compacted(ctx context.Context, store Store, through uint64) ([]Object, error) {
	var out []Object
	for o, err := range store.List(ctx, m.Chain.prefix(), "") {
		if err != nil {
			return nil, err
		}
		if n, err := ParseKey(o.Key); err != nil || n.First > min(through, m.Through()) {
			break
		}
		out = append(out, o)
	}
	return out, nil
}
