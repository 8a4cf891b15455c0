package sources_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
)

// store is a publisher that keeps frames in memory, and a broker that can fail.
type store struct {
	mu     sync.Mutex
	frames []frame
	// answer decides what becomes of a frame: kept or not, and what the publisher
	// is told.
	answer func(n int) (keep bool, err error)
	calls  int
}

type frame struct {
	kind    schemas.Kind
	service string
	lines   []string
	source  string
}

func (s *store) PublishEncoded(ctx context.Context, kind schemas.Kind, service string, lines [][]byte, source string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := frame{kind: kind, service: service, source: source}
	for _, l := range lines {
		f.lines = append(f.lines, string(l))
	}
	s.calls++
	keep, err := true, error(nil)
	if s.answer != nil {
		keep, err = s.answer(s.calls)
	}
	if keep {
		s.frames = append(s.frames, f)
	}
	return err
}

func (s *store) stored(ctx context.Context, prefix string, each func(string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frames {
		if strings.HasPrefix(f.source, prefix) {
			each(f.source)
		}
	}
	return nil
}

// messages lists what is stored, in the order of the frames.
func (s *store) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, f := range s.frames {
		for _, l := range f.lines {
			out = append(out, message(l))
		}
	}
	return out
}

func message(line string) string {
	var e struct{ Message string }
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		panic(err)
	}
	return e.Message
}

func event(message string) string { return fmt.Sprintf(`{"message":%q,"level":"INFO"}`+"\n", message) }

func events(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(event(fmt.Sprint(i)))
	}
	return b.String()
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func extend(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// age makes a file older by some minutes than it is.
func age(t *testing.T, path string, minutes int) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	then := info.ModTime().Add(-time.Duration(minutes) * time.Minute)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}
