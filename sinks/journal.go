package sinks

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// journal is a file of lines that holds each position once, whatever happens to
// the process in between.
//
// Beside it stands a file of positions. For each line it says where the line
// ends, and it is on disk before the line is: a line whose end the file reached
// is there, and one that is not complete is cut off. The positions of the file
// before the last rotation are known too, so that an event that comes again
// within that many lines is passed over.
type journal struct {
	dir, stem, ext string // <stem><ext> is written to
	maxBytes       int64  // at which it is rotated
	keep           int    // rotated files; 0: all, for ever
	now            func() time.Time

	file, positions *os.File // nil: not open
	lock            *os.File
	size            int64     // of the file
	day             string    // of the last write, UTC
	known           [2]places // of this file and of the one before
}

type places map[string]bool

const (
	journalDir  = 0o750
	journalFile = 0o640
)

// errHeld is a journal that another process writes to.
var errHeld = errors.New("another process writes to the file")

// errForeign is a file in which there is what the journal has not written.
var errForeign = errors.New("somebody else writes to the file: give this one a directory of its own")

func (j *journal) path() string          { return filepath.Join(j.dir, j.stem+j.ext) }
func (j *journal) positionsPath() string { return filepath.Join(j.dir, "."+j.stem+".positions") }
func (j *journal) earlierPath() string   { return j.positionsPath() + ".1" }

// append writes those of the lines whose positions are new, and returns when
// they are on disk. Each line ends in a line end. After an error the journal is
// read anew.
func (j *journal) append(positions []string, lines [][]byte) error {
	err := j.tryAppend(positions, lines)
	if err != nil {
		j.close()
	}
	return err
}

func (j *journal) tryAppend(positions []string, lines [][]byte) error {
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	for len(lines) > 0 {
		if j.size > 0 && (j.size >= j.maxBytes || j.day != j.today()) {
			if err := j.rotate(); err != nil {
				return err
			}
		}
		var notes, data bytes.Buffer
		taken := 0
		for i, p := range positions {
			if j.size+int64(data.Len()) >= j.maxBytes {
				break
			}
			taken++
			if j.known[0][p] || j.known[1][p] {
				continue
			}
			data.Write(lines[i])
			notes.WriteString(strconv.FormatInt(j.size+int64(data.Len()), 10) + " " + p + "\n")
			j.known[0][p] = true // an error forgets it again
		}
		if data.Len() > 0 {
			if info, err := j.file.Stat(); err != nil || info.Size() != j.size {
				return cmp.Or(err, errForeign)
			}
			if err := writeSynced(j.positions, notes.Bytes()); err != nil {
				return err
			}
			if err := writeSynced(j.file, data.Bytes()); err != nil {
				return err
			}
			j.size += int64(data.Len())
			j.day = j.today()
		}
		positions, lines = positions[taken:], lines[taken:]
	}
	return nil
}

func (j *journal) today() string { return j.now().UTC().Format(time.DateOnly) }

func writeSynced(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// close forgets everything that is not on disk.
func (j *journal) close() {
	for _, f := range []*os.File{j.file, j.positions, j.lock} {
		if f != nil {
			_ = f.Close() // what counts was synced
		}
	}
	j.file, j.positions, j.lock = nil, nil, nil
}

// open takes the files as the last process left them.
func (j *journal) open() error {
	if err := os.MkdirAll(j.dir, journalDir); err != nil {
		return err
	}
	var err error
	if j.lock, err = os.OpenFile(filepath.Join(j.dir, "."+j.stem+".lock"), os.O_RDWR|os.O_CREATE, journalFile); err != nil {
		return err
	}
	if err := syscall.Flock(int(j.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errHeld
	}
	if err := j.compressLeft(); err != nil {
		return err
	}
	if err := j.finishRotation(); err != nil {
		return err
	}
	return j.read()
}

// finishRotation moves the file away if its positions have been moved already.
func (j *journal) finishRotation() error {
	_, err1 := os.Stat(j.positionsPath())
	_, err2 := os.Stat(j.earlierPath())
	info, err3 := os.Stat(j.path())
	if errors.Is(err1, fs.ErrNotExist) && err2 == nil && err3 == nil && info.Size() > 0 {
		return j.moveAway()
	}
	return nil
}

// read finds out what is in the file, and cuts off a line that is not complete.
func (j *journal) read() error {
	var err error
	if j.file, err = os.OpenFile(j.path(), os.O_RDWR|os.O_CREATE|os.O_APPEND, journalFile); err != nil {
		return err
	}
	if j.positions, err = os.OpenFile(j.positionsPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, journalFile); err != nil {
		return err
	}
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	j.day = info.ModTime().UTC().Format(time.DateOnly)
	notes, err := os.ReadFile(j.positionsPath())
	if err != nil {
		return err
	}
	earlier, err := os.ReadFile(j.earlierPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	j.known[1], _, _ = readNotes(earlier, func(int64) bool { return true })
	known, end, sure := readNotes(notes, j.lineEnds)
	j.known[0], j.size = known, end
	tail := make([]byte, max(0, info.Size()-end))
	switch {
	case sure == 0: // a file that somebody else has begun stays as it is
		j.size = info.Size()
		if err := j.positions.Truncate(0); err != nil {
			return err
		}
		if err := writeSynced(j.positions, []byte(strconv.FormatInt(j.size, 10)+" -\n")); err != nil {
			return err
		}
	case len(tail) > 0:
		// Of ours there is at most a part of one line, which was noted.
		if _, err := j.file.ReadAt(tail, end); err != nil {
			return err
		}
		if sure == int64(len(notes)) || bytes.ContainsRune(tail, '\n') {
			return errForeign
		}
		fallthrough
	default:
		if err := errors.Join(j.file.Truncate(end), j.positions.Truncate(sure)); err != nil {
			return err
		}
	}
	return errors.Join(j.file.Sync(), j.positions.Sync(), syncPath(j.dir))
}

// lineEnds tells whether a line of the file ends at an offset.
func (j *journal) lineEnds(at int64) bool {
	last := []byte{0}
	if at == 0 {
		return true
	}
	n, _ := j.file.ReadAt(last, at-1)
	return n == 1 && last[0] == '\n'
}

// readNotes gives the positions of lines that are there, the end of the last,
// and how many bytes of the notes say so. The first note is where we began.
func readNotes(notes []byte, there func(at int64) bool) (known places, end, sure int64) {
	known = places{}
	for len(notes) > 0 {
		line, rest, whole := bytes.Cut(notes, []byte("\n"))
		offset, position, ok := strings.Cut(string(line), " ")
		at, err := strconv.ParseInt(offset, 10, 64)
		if !whole || !ok || err != nil || !there(at) {
			break
		}
		known[position], end, notes = true, at, rest
		sure += int64(len(line)) + 1
	}
	return known, end, sure
}
