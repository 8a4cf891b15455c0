package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// ErrFull: the spool, or the disk that it is on, takes no more. Nothing was
// written. Try later.
var ErrFull = errors.New("the spool is full")

// ErrClosed: the spool was closed. Nothing was written.
var ErrClosed = errors.New("the spool is closed")

// Config of a spool.
type Config struct {
	// Dir is the directory, which is made with mode 0700 if it is not there. One
	// process at a time has it.
	Dir string
	// MaxBytes of all segments. 0: 1 GiB. At least 2 MiB.
	MaxBytes int64
}

// Validate joins all faults of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("spool: directory: missing"))
	}
	if c.MaxBytes != 0 && c.MaxBytes < 2<<20 {
		faults = append(faults, fmt.Errorf("spool: %d bytes; at least 2 MiB, so that the largest frames fit", c.MaxBytes))
	}
	return errors.Join(faults...)
}

// Spool is an open spool. Its methods are safe for concurrent use; the records
// of one lane are appended by one caller at a time, and read and marked done by
// one.
type Spool struct {
	config Config
	lock   *os.File
	files  files // of the committer alone

	mu      sync.Mutex
	lanes   map[string]*lane
	size    int64 // bytes of all segments
	records int   // not done
	events  int64 // in them
	queue   []*write
	queued  int64 // bytes in queue
	damage  []Damage
	dirty   bool // a lane was marked done since the marks were written
	closing bool

	wake  chan struct{}
	ended chan struct{}
}

// lane is what the spool holds of one lane.
type lane struct {
	entries []entry // not done, ascending by batch
	done    uint64  // every batch up to it is done
	kept    int     // records in segments that are still there, done or not
}

// entry tells where a record is.
type entry struct {
	batch   uint64
	segment *segment
	offset  int64
	length  int32
	events  int32
}

// segment is a file. All of it is under the spool's lock, except name.
type segment struct {
	name    string
	size    int64
	left    int            // records that are not done
	lanes   map[string]int // all its records, done or not
	damaged bool
}

// Stats is what a spool holds.
type Stats struct {
	Bytes   int64 // of all segments
	Records int   // not done
	Events  int64 // in them
	Damaged int   // stretches that were skipped since the spool was opened
}

// Open opens the spool and reads all of it. It fails if another process has it,
// or if the directory cannot be written.
func Open(c Config) (*Spool, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	fault := func(err error) (*Spool, error) { return nil, fmt.Errorf("open spool %s: %w", c.Dir, err) }
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fault(err)
	}
	if err := syncDir(filepath.Dir(filepath.Clean(c.Dir))); err != nil {
		return fault(err)
	}
	lock, err := os.OpenFile(filepath.Join(c.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return fault(fmt.Errorf("another process has it: give each publisher a directory of its own: %w", err))
	}
	s := &Spool{
		config: c, lock: lock, lanes: map[string]*lane{},
		files: files{dir: c.Dir, segmentBytes: min(8<<20, c.MaxBytes/4)},
		wake:  make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if err := s.load(); err != nil {
		lock.Close()
		return fault(err)
	}
	go s.commit()
	return s, nil
}

// load reads the marks and then every segment.
func (s *Spool) load() error {
	marks, err := readMarks(s.config.Dir)
	if err != nil {
		return err
	}
	for name, done := range marks {
		s.lanes[name] = &lane{done: done}
	}
	names, err := segments(s.config.Dir, segmentExt)
	if err != nil {
		return err
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(s.config.Dir, name))
		if err != nil {
			return err
		}
		seg := &segment{name: name, size: int64(len(b)), lanes: map[string]int{}}
		for it := range scan(name, b) {
			if it.damage != nil {
				s.damage, seg.damaged = append(s.damage, *it.damage), true
				continue
			}
			s.insert(seg, &it.record, it.offset, it.length)
		}
		s.size += seg.size
		s.files.old = append(s.files.old, seg)
		s.files.last = max(s.files.last, number(name))
	}
	return s.sweep()
}

// insert notes a record. Under the lock, or before there is any.
func (s *Spool) insert(seg *segment, r *Record, offset, length int64) {
	l := s.lanes[r.Lane]
	if l == nil {
		l = &lane{}
		s.lanes[r.Lane] = l
	}
	l.kept++
	seg.lanes[r.Lane]++
	last := l.done
	if n := len(l.entries); n > 0 {
		last = l.entries[n-1].batch
	}
	if r.Batch <= last { // done, or written twice because the first time seemed to fail
		return
	}
	l.entries = append(l.entries, entry{r.Batch, seg, offset, int32(length), int32(r.Events)})
	s.count(l.entries[len(l.entries)-1], 1)
}

// count adds a record to what is not done, or takes it off.
func (s *Spool) count(e entry, n int) {
	e.segment.left += n
	s.records += n
	s.events += int64(n) * int64(e.events)
}

// Lanes lists the lanes with records that are not done, sorted.
func (s *Spool) Lanes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, l := range s.lanes {
		if len(l.entries) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Pending tells how many records of a lane are not done, the batch of the first
// of them, and up to which batch the lane is done.
func (s *Spool) Pending(name string) (n int, first, done uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	if l == nil {
		return 0, 0, 0
	}
	if len(l.entries) > 0 {
		first = l.entries[0].batch
	}
	return len(l.entries), first, l.done
}

// Stats tells what the spool holds.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Bytes: s.size, Records: s.records, Events: s.events, Damaged: len(s.damage)}
}

// Damage lists what was skipped since the spool was opened.
func (s *Spool) Damage() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.damage)
}

// Peek reads the records of a lane that are not done, in order, while more says
// so, and always the first: more is asked about that, too. Records that are damaged by now are
// done without being read, and count as damage.
func (s *Spool) Peek(name string, more func(*Record) bool) ([]Record, error) {
	s.mu.Lock()
	var entries []entry
	if l := s.lanes[name]; l != nil {
		entries = slices.Clip(l.entries)
	}
	s.mu.Unlock()
	var out []Record
	var file *os.File
	var open *segment
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	for _, e := range entries {
		if e.segment != open {
			if file != nil {
				file.Close()
			}
			var err error
			file, err = os.Open(filepath.Join(s.config.Dir, e.segment.name))
			if errors.Is(err, fs.ErrNotExist) {
				file, open = nil, nil
				s.skip(name, e) // somebody removed it
				continue
			}
			if err != nil {
				return out, fmt.Errorf("read the spool: %w", err)
			}
			open = e.segment
		}
		b := make([]byte, e.length)
		// The disk may have lost it (EIO), or the file its end: then it is damaged.
		_, _ = file.ReadAt(b, e.offset)
		r, ok := parseRecord(b)
		if !ok || r.Lane != name || r.Batch != e.batch {
			s.skip(name, e)
			continue
		}
		if !more(&r) && len(out) > 0 {
			break
		}
		out = append(out, r)
	}
	return out, nil
}

// skip takes a record out that was damaged after it was written.
func (s *Spool) skip(name string, e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	i := slices.Index(l.entries, e)
	if i < 0 {
		return
	}
	l.entries = slices.Concat(l.entries[:i:i], l.entries[i+1:])
	s.count(e, -1)
	e.segment.damaged = true
	s.damage = append(s.damage, Damage{
		Segment: e.segment.name, Offset: e.offset, Length: int64(e.length),
		Lane: name, Batch: e.batch, Events: int(e.events),
	})
	s.rouse()
}

// Done says that every batch of a lane up to and with this one is stored
// elsewhere. Segments without another record are removed, those with damage kept
// aside. The mark is on disk within a second; a record may come again after a
// crash.
func (s *Spool) Done(name string, batch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	if l == nil || batch <= l.done {
		return
	}
	l.done = batch
	i := 0
	for ; i < len(l.entries) && l.entries[i].batch <= batch; i++ {
		s.count(l.entries[i], -1)
	}
	l.entries = l.entries[i:]
	s.dirty = true
	s.rouse()
}

// rouse wakes the committer.
func (s *Spool) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close writes what is queued, and lets another process have the spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.rouse()
	s.mu.Unlock()
	<-s.ended
	if !first {
		return nil
	}
	return s.lock.Close()
}
