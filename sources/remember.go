package sources

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// rememberEvery is how often the newest mark is written down.
const rememberEvery = 10 * time.Second

// remember writes down how far the file is stored, now and then and whenever
// asked to. What is written may be old or, after a power cut, garbage: it only
// adds to what the stored frames say, and a mark that does not fit is no mark.
func (t *tail) remember(now bool) error {
	if t.Remember == "" || t.batch.to == t.remembered || !now && time.Since(t.rememberedAt) < rememberEvery {
		return nil
	}
	next := t.Remember + ".next"
	err := os.WriteFile(next, []byte(t.source(t.batch.to, nil)), 0o600)
	if err == nil {
		err = os.Rename(next, t.Remember)
	}
	if err != nil {
		return fmt.Errorf("remember the position: %w", err)
	}
	t.remembered, t.rememberedAt = t.batch.to, time.Now()
	return nil
}

// recall gives the mark that was written down last, "" if there is none.
func (t *tail) recall() (source string, err error) {
	if t.Remember == "" {
		return "", nil
	}
	b, err := os.ReadFile(t.Remember)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("recall the position: %w", err)
	}
	return string(b), nil
}
