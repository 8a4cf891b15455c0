package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dermai/millrace/internal/chaos"
)

// The endings of files in a spool.
const (
	segmentExt = ".spool"
	damagedExt = ".damaged" // all that is whole in it is done
	marksName  = "done"
)

// files are the segments, as the committer has them. Nobody else writes, makes
// or removes one.
type files struct {
	dir          string
	segmentBytes int64

	last    uint64     // number of the newest segment
	old     []*segment // only read
	current *segment   // nil: the next write makes one
	file    *os.File   // of current
}

// write is a record on its way to the disk.
type write struct {
	record Record
	bytes  []byte
	done   chan error
}

// Append writes a record and returns when it would survive a loss of power.
// Records that arrive while others are being synced are synced together. After
// ErrFull and ErrClosed nothing was written; after any other error the record
// may be read back once the spool is opened again, so that its batch must not be
// given to other data.
func (s *Spool) Append(r Record) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	w := &write{record: r, bytes: appendRecord(nil, &r), done: make(chan error, 1)}
	w.record.Data = nil
	s.mu.Lock()
	switch {
	case s.closing:
		s.mu.Unlock()
		return ErrClosed
	case s.size+s.queued+int64(len(w.bytes)+len(segmentMagic)) > s.config.MaxBytes:
		n := s.size + s.queued
		s.mu.Unlock()
		return fmt.Errorf("%w: it holds %d of %d bytes", ErrFull, n, s.config.MaxBytes)
	}
	s.queue = append(s.queue, w)
	s.queued += int64(len(w.bytes))
	s.rouse()
	s.mu.Unlock()
	return <-w.done
}

// commit writes what is queued, group after group, until the spool is closed.
func (s *Spool) commit() {
	defer close(s.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		marks := false
		select {
		case <-s.wake:
		case <-tick.C:
			marks = true
		}
		s.mu.Lock()
		group, closing := s.queue, s.closing
		s.queue = nil
		s.mu.Unlock()
		if len(group) > 0 {
			err := s.write(group)
			for _, w := range group {
				w.done <- err
			}
		}
		if marks || closing {
			s.writeMarks()
		}
		// What cannot be removed now is removed when the spool is opened again.
		_ = s.sweep()
		if closing && len(group) == 0 {
			if s.files.file != nil {
				s.files.file.Close()
			}
			return
		}
		if closing {
			s.rouse()
		}
	}
}

// write appends a group of records to the current segment.
func (s *Spool) write(group []*write) error {
	size := int64(0)
	for _, w := range group {
		size += int64(len(w.bytes))
	}
	made, err := s.files.open()
	if made {
		s.mu.Lock()
		s.size += s.files.current.size
		s.mu.Unlock()
	}
	begin := int64(0)
	if err == nil {
		begin = s.files.current.size
		b := make([]byte, 0, size)
		for _, w := range group {
			b = append(b, w.bytes...)
		}
		if _, err = s.files.file.WriteAt(b, begin); err == nil && !chaos.Bug("no fsync") {
			err = s.files.file.Sync()
		}
		if err != nil {
			err = s.files.undo(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= size
	if err != nil {
		return fmt.Errorf("write to the spool: %w", err)
	}
	seg := s.files.current
	for _, w := range group {
		s.insert(seg, &w.record, begin, int64(len(w.bytes)))
		begin += int64(len(w.bytes))
	}
	seg.size = begin
	s.size += size
	return nil
}

// open makes a new segment unless the current one has room.
func (f *files) open() (made bool, err error) {
	if f.current != nil && f.current.size < f.segmentBytes {
		return false, nil
	}
	f.retire()
	f.last++
	name := fmt.Sprintf("%016x%s", f.last, segmentExt)
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if _, err = file.WriteString(segmentMagic); err == nil {
			err = errors.Join(file.Sync(), syncDir(f.dir))
		}
		if err != nil {
			file.Close()
			_ = os.Remove(file.Name()) // it is empty: nothing is lost if it stays
		}
	}
	if err != nil {
		return false, full(err)
	}
	f.file = file
	f.current = &segment{name: name, size: int64(len(segmentMagic)), lanes: map[string]int{}}
	return true, nil
}

// retire writes no more to the current segment.
func (f *files) retire() {
	if f.current == nil {
		return
	}
	f.file.Close()
	f.old = append(f.old, f.current)
	f.current, f.file = nil, nil
}

// undo takes back a write that failed. Only if that is on disk is the error one
// after which nothing was written. The segment is not written to again: what the
// kernel has of it after a failed sync cannot be known.
func (f *files) undo(why error) error {
	size := f.current.size
	err := f.file.Truncate(size)
	if err == nil {
		err = f.file.Sync()
	}
	f.retire()
	if err != nil {
		return why
	}
	return full(why)
}

// full marks errors that mean: there is no room on the disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// sweep removes segments whose records are all done, and renames those with
// damage.
func (s *Spool) sweep() error {
	s.mu.Lock()
	if c := s.files.current; c != nil && c.left == 0 && len(s.queue) == 0 && len(c.lanes) > 0 {
		s.files.retire()
	}
	var over []*segment
	s.files.old = slices.DeleteFunc(s.files.old, func(seg *segment) bool {
		if seg.left == 0 {
			over = append(over, seg)
		}
		return seg.left == 0
	})
	s.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	var faults []error
	for _, seg := range over {
		path := filepath.Join(s.config.Dir, seg.name)
		if seg.damaged {
			faults = append(faults, os.Rename(path, strings.TrimSuffix(path, segmentExt)+damagedExt))
		} else {
			faults = append(faults, os.Remove(path))
		}
	}
	faults = append(faults, syncDir(s.config.Dir))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range over {
		s.size -= seg.size
		for name, n := range seg.lanes {
			l := s.lanes[name]
			if l.kept -= n; l.kept == 0 {
				delete(s.lanes, name)
			}
		}
	}
	return errors.Join(faults...)
}

// writeMarks writes down which batches are done. It may fail: then the broker
// says it after a crash.
func (s *Spool) writeMarks() {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = false
	b := []byte(segmentMagic)
	for name, l := range s.lanes {
		if l.done > 0 && l.kept > 0 {
			b = appendRecord(b, &Record{Lane: name, Batch: l.done})
		}
	}
	s.mu.Unlock()
	if !dirty {
		return
	}
	path := filepath.Join(s.config.Dir, marksName)
	err := writeSynced(path+".tmp", b)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err == nil {
		err = syncDir(s.config.Dir)
	}
	if err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// readMarks reads what writeMarks wrote. Damaged marks are no marks.
func readMarks(dir string) (map[string]uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, marksName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	marks := map[string]uint64{}
	for it := range scan(marksName, b) {
		if it.damage == nil {
			marks[it.record.Lane] = it.record.Batch
		}
	}
	return marks, nil
}

// segments lists the files of a spool with an ending, oldest first.
func segments(dir, ext string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ext) && number(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil // sorted by name, which is by number
}

// number of a segment by its name; 0: it is none.
func number(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSuffix(name, segmentExt), damagedExt), 16, 64)
	if err != nil {
		return 0
	}
	return n
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
