package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxSeries bounds how many rotated files are looked at, the newest ones.
const maxSeries = 32

// sibling is the followed file or one that it was rotated to.
type sibling struct {
	path string
	info fs.FileInfo
}

// series lists the files that the path has named, oldest first; what the path
// names now, if anything, comes last. Without Follow there is no other.
func (t *tail) series() ([]sibling, error) {
	var files []sibling
	dir, base := filepath.Split(t.path)
	if t.Follow {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if !rotated(e.Name(), base) {
				continue
			}
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.Mode().IsRegular() {
				files = append(files, sibling{filepath.Join(dir, e.Name()), info})
			}
		}
		slices.SortStableFunc(files, func(a, b sibling) int {
			return cmp.Or(a.info.ModTime().Compare(b.info.ModTime()), strings.Compare(a.path, b.path))
		})
		files = files[max(0, len(files)-maxSeries):]
	}
	info, err := os.Stat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return files, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file; publish - reads a pipe from standard input", t.path)
	}
	return append(files, sibling{t.path, info}), nil
}

// rotated tells whether a name is one that rotation gives to a file: app.log.1,
// app.log-20251127, app.log.2025-11-27_10-30-45. Compressed ones are no lines.
func rotated(name, base string) bool {
	suffix, ok := strings.CutPrefix(name, base)
	return ok && len(suffix) > 1 && (suffix[0] == '.' || suffix[0] == '-') &&
		strings.Trim(suffix[1:], "0123456789-_.T:") == ""
}

// start opens the file where the stored frames end, waiting for one to appear.
func (t *tail) start(ctx context.Context) error {
	asked := false
	for {
		files, err := t.series()
		if err != nil {
			return err
		}
		here := len(files) > 0 && files[len(files)-1].path == t.path
		if here || len(files) > 0 && !asked {
			asked = true
			if opened, err := t.resume(ctx, files); opened || err != nil {
				return err
			}
		}
		if !t.Follow {
			return fs.ErrNotExist
		}
		if !pause(ctx, t.poll) {
			return ctx.Err()
		}
	}
}

// resume opens the newest file of which something is stored, else the one that
// the path names: older files were never ours.
func (t *tail) resume(ctx context.Context, files []sibling) (bool, error) {
	open := make([]*os.File, len(files))
	defer func() {
		for _, f := range open {
			if f != nil && f != t.file {
				f.Close()
			}
		}
	}()
	for i, s := range files {
		var err error
		if open[i], err = os.Open(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	known := make([]progress, len(files))
	var fault error
	learn := func(source string) {
		m, ok := parseMark(source, t.prefix)
		for i := range open {
			if ok && open[i] != nil && fault == nil {
				fault = known[i].learn(m, open[i])
			}
		}
	}
	recalled, err := t.recall()
	if err == nil && t.Stored != nil {
		err = t.Stored(ctx, t.prefix, learn)
	}
	learn(recalled)
	if err := cmp.Or(err, fault); err != nil {
		return false, fmt.Errorf("find where the stored frames end: %w", err)
	}
	last := len(files) - 1
	pick := -1
	for i := range files {
		if open[i] != nil && known[i].found() {
			pick = i
		}
	}
	if pick < 0 && open[last] != nil && files[last].path == t.path {
		pick = last
	}
	if pick < 0 {
		return false, nil
	}
	return true, t.open(open[pick], known[pick])
}

// current tells whether the path names the file that is being read, or none.
func (t *tail) current() (bool, error) {
	here, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	open, err := t.file.Stat()
	return err == nil && os.SameFile(here, open), err
}

// advance ends a file that was rotated away and opens the one that came after
// it. If that was rotated at this very moment, the file stays, to be ended again.
func (t *tail) advance(ctx context.Context) error {
	if err := t.finish(ctx); err != nil {
		return err
	}
	files, err := t.series()
	if err != nil {
		return err
	}
	ended, err := t.file.Stat()
	if err != nil {
		return err
	}
	next := 1 + slices.IndexFunc(files, func(s sibling) bool { return os.SameFile(s.info, ended) })
	if next == 0 { // it was deleted, or compressed
		for next < len(files)-1 && !files[next].info.ModTime().After(ended.ModTime()) {
			next++
		}
	}
	if next >= len(files) {
		return nil
	}
	file, err := os.Open(files[next].path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info, err := file.Stat(); err != nil || !os.SameFile(info, files[next].info) {
		file.Close()
		return err
	}
	return t.open(file, progress{})
}

// truncated goes on after the file lost what was read of it. If it was copied
// first, the copy holds what came between the last read and the truncation, and
// is read to its end; then, or else at once, the file from its beginning.
func (t *tail) truncated(ctx context.Context) error {
	if err := t.batch.flush(ctx); err != nil {
		return err
	}
	files, err := t.series()
	if err != nil {
		return err
	}
	self, err := t.file.Stat()
	if err != nil {
		return err
	}
	read := mark{fingerprint: fingerprint(t.seen), offset: t.read}
	for _, s := range slices.Backward(files) {
		if os.SameFile(s.info, self) {
			continue
		}
		file, err := os.Open(s.path)
		if err != nil {
			continue // rotated further meanwhile
		}
		if same, err := read.fits(file); err == nil && same {
			return t.open(file, progress{offset: t.split.offset()})
		}
		file.Close()
	}
	if t.split.partial() {
		if err := t.batch.refuse(ctx, t.split.cut(), errCut); err != nil {
			return err
		}
	}
	return t.open(t.file, progress{})
}
