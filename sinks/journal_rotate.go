package sinks

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// rotate begins a new file. The positions go first: if the process ends in
// between, open does the rest.
func (j *journal) rotate() error {
	if err := os.Rename(j.positionsPath(), j.earlierPath()); err != nil {
		return err
	}
	if err := syncPath(j.dir); err != nil {
		return err
	}
	if err := j.moveAway(); err != nil {
		return err
	}
	if err := errors.Join(j.file.Close(), j.positions.Close()); err != nil {
		return err
	}
	return j.read()
}

// moveAway gives the file its name for good, and packs it.
func (j *journal) moveAway() error {
	// The time is part of the name only to sort by; it is not that of any line.
	name := j.stem + "-" + j.now().UTC().Format("20060102T150405.000000000Z") + j.ext
	if _, err := os.Lstat(filepath.Join(j.dir, name+".gz")); err == nil {
		return errors.New("the clock stands still: a file of this time is there")
	}
	if err := os.Rename(j.path(), filepath.Join(j.dir, name)); err != nil {
		return err
	}
	if err := syncPath(j.dir); err != nil {
		return err
	}
	if err := j.compressLeft(); err != nil {
		return err
	}
	return j.prune()
}

// rotated lists the files that were moved away, from the oldest on.
func (j *journal) rotated(ext string) ([]string, error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile(`^` + regexp.QuoteMeta(j.stem) + `-\d{8}T\d{6}\.\d{9}Z` + regexp.QuoteMeta(ext) + `$`)
	var out []string
	for _, e := range entries {
		if name.MatchString(e.Name()) {
			out = append(out, filepath.Join(j.dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// compressLeft packs what was moved away and is not packed.
func (j *journal) compressLeft() error {
	left, err := j.rotated(j.ext)
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := compress(path); err != nil {
			return err
		}
	}
	return nil
}

// compress replaces a file by a packed one. The plain file goes when the packed
// one is on disk.
func compress(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	temp := path + ".gz.tmp"
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, journalFile)
	if err != nil {
		return err
	}
	w := gzip.NewWriter(out)
	_, err = io.Copy(w, in)
	if err := errors.Join(err, w.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, strings.TrimSuffix(temp, ".tmp")); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	return errors.Join(syncPath(dir), os.Remove(path), syncPath(dir))
}

// prune removes the oldest files beyond those that are kept.
func (j *journal) prune() error {
	if j.keep == 0 {
		return nil
	}
	packed, err := j.rotated(j.ext + ".gz")
	for len(packed) > j.keep {
		err = errors.Join(err, os.Remove(packed[0]))
		packed = packed[1:]
	}
	return err
}
