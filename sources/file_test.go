package sources_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
)

// store is a publisher that keeps frames in memory, and a broker that can fail.
type store struct {
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
	for _, f := range s.frames {
		if strings.HasPrefix(f.source, prefix) {
			each(f.source)
		}
	}
	return nil
}

// messages lists what is stored, in the order of the frames.
func (s *store) messages() []string {
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

// follower follows a file within a synctest bubble.
type follower struct {
	t       *testing.T
	path    string
	store   *store
	refused []string
	tally   sources.Tally
	stop    func()
}

func (f *follower) file() *sources.File {
	return &sources.File{
		Inlet: sources.Inlet{
			Publisher: f.store,
			Defaults:  sources.Defaults{Service: "api"},
			Tally:     &f.tally,
			Refused: func(_ context.Context, line []byte, offset int64, err error) error {
				f.refused = append(f.refused, fmt.Sprintf("%d %.20q %v", offset, line, err))
				return nil
			},
		},
		Path:   f.path,
		Follow: true,
		Stored: f.store.stored,
		Grace:  time.Second,
	}
}

func (f *follower) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- f.file().Run(ctx) }()
	f.stop = func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	}
	synctest.Wait()
}

// settle lets the follower look at the file again, and if it was rotated away,
// take it for ended.
func (f *follower) settle() {
	<-time.After(3 * time.Second)
	synctest.Wait()
}

// poll lets the follower look once.
func (f *follower) poll() {
	<-time.After(200 * time.Millisecond)
	synctest.Wait()
}

func (f *follower) want(messages []string) {
	f.t.Helper()
	if diff := cmp.Diff(messages, f.store.messages()); diff != "" {
		f.t.Fatalf("stored (-want +got):\n%s", diff)
	}
}

func TestFollow(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f *follower)
	}{
		{"grows", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			f.want(numbers(0, 3))
			extend(t, f.path, events(3, 5))
			f.settle()
			f.want(numbers(0, 5))
		}},
		{"partial line is published when it is complete", func(t *testing.T, f *follower) {
			write(t, f.path, event("0")+`{"message":`)
			f.start()
			f.settle()
			f.want(numbers(0, 1))
			extend(t, f.path, `"1"`)
			f.settle()
			f.want(numbers(0, 1))
			extend(t, f.path, "}\n"+event("2"))
			f.settle()
			f.want(numbers(0, 3))
		}},
		{"appears later", func(t *testing.T, f *follower) {
			f.start()
			f.settle()
			write(t, f.path, events(0, 2))
			f.settle()
			f.want(numbers(0, 2))
		}},
		{"renamed", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 2))
			f.start()
			rename(t, f.path, f.path+".1")
			extend(t, f.path+".1", events(2, 3)) // its writer has it open still
			f.settle()
			write(t, f.path, events(4, 6))
			f.poll()
			extend(t, f.path+".1", events(3, 4))
			f.settle()
			f.want(numbers(0, 6))
		}},
		{"renamed with a line that has no end", func(t *testing.T, f *follower) {
			write(t, f.path, event("0")+strings.TrimSpace(event("1")))
			f.start()
			rename(t, f.path, f.path+".1")
			write(t, f.path, events(2, 3))
			f.settle()
			f.want(numbers(0, 3))
		}},
		{"renamed three times at once", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 2))
			f.start()
			age(t, f.path, 3)
			rename(t, f.path, f.path+".3")
			write(t, f.path+".2", events(2, 4))
			age(t, f.path+".2", 2)
			write(t, f.path+".1", events(4, 6))
			age(t, f.path+".1", 1)
			write(t, f.path, events(6, 8))
			f.settle()
			f.want(numbers(0, 8))
		}},
		{"renamed and compressed", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 2))
			f.start()
			extend(t, f.path, events(2, 3))
			rename(t, f.path, f.path+".1")
			rename(t, f.path+".1", f.path+".1.gz")
			if err := os.Remove(f.path + ".1.gz"); err != nil {
				t.Fatal(err)
			}
			write(t, f.path, events(3, 4))
			f.settle()
			f.want(numbers(0, 4))
		}},
		{"old neighbours are not ours", func(t *testing.T, f *follower) {
			write(t, f.path+".1", events(100, 102))
			write(t, f.path+".2.gz", "\x1f\x8b")
			write(t, f.path, events(0, 2))
			f.start()
			f.settle()
			f.want(numbers(0, 2))
		}},
		{"renamed while away", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 2))
			f.start()
			f.stop()
			extend(t, f.path, events(2, 4))
			age(t, f.path, 2)
			rename(t, f.path, f.path+".2")
			write(t, f.path+".1", events(4, 6))
			age(t, f.path+".1", 1)
			write(t, f.path, events(6, 8))
			f.start()
			f.settle()
			f.want(numbers(0, 8))
		}},
		{"truncated", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			if err := os.Truncate(f.path, 0); err != nil {
				t.Fatal(err)
			}
			f.poll()
			extend(t, f.path, events(3, 5))
			f.settle()
			f.want(numbers(0, 5))
		}},
		{"truncated and longer again between two looks", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			write(t, f.path, events(3, 30))
			f.settle()
			f.want(numbers(0, 30))
		}},
		{"truncated while away, and longer again", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			f.stop()
			write(t, f.path, events(3, 30))
			f.start()
			f.settle()
			f.want(numbers(0, 30))
		}},
		{"copied and truncated before the last lines were read", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			write(t, f.path+".1", events(0, 6))
			write(t, f.path, events(6, 8))
			f.settle()
			f.want(numbers(0, 8))
		}},
		{"truncated in the middle of a line", func(t *testing.T, f *follower) {
			write(t, f.path, event("0")+`{"message":"gone`)
			f.start()
			write(t, f.path, events(1, 2))
			f.settle()
			f.want(numbers(0, 2))
			if len(f.refused) != 1 || !strings.Contains(f.refused[0], "truncated") {
				t.Errorf("refused %q", f.refused)
			}
		}},
		{"deleted and made again", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 2))
			f.start()
			if err := os.Remove(f.path); err != nil {
				t.Fatal(err)
			}
			f.settle()
			write(t, f.path, events(2, 4))
			f.settle()
			f.want(numbers(0, 4))
		}},
		{"goes on where the stored frames end", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			f.stop()
			extend(t, f.path, events(3, 6))
			f.start()
			f.want(numbers(0, 6))
		}},
		{"a copy in its place is the same file", func(t *testing.T, f *follower) {
			write(t, f.path, events(0, 3))
			f.start()
			f.stop()
			write(t, f.path+".new", events(0, 5))
			rename(t, f.path+".new", f.path)
			f.start()
			f.want(numbers(0, 5))
		}},
		{"bad lines are refused and reading goes on", func(t *testing.T, f *follower) {
			long := `{"message":"` + strings.Repeat("x", 300<<10) + `"}` + "\n"
			write(t, f.path, "\xef\xbb\xbf"+`{"message":"0"}`+"\r\n\r\n  \nTraceback (most recent call last):\n"+long+event("1"))
			f.start()
			f.want(numbers(0, 2))
			want := []string{
				`25 "Traceback (most rece" not valid JSON at byte 0`,
				`60 "{\"message\":\"xxxxxxxx" line is over 262144 bytes; shorten its texts, or send them elsewhere and refer to them`,
			}
			if diff := cmp.Diff(want, f.refused); diff != "" {
				t.Error(diff)
			}
			if f.tally.Published.Load() != 2 || f.tally.Refused.Load() != 2 {
				t.Errorf("published %d, refused %d", f.tally.Published.Load(), f.tally.Refused.Load())
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			synctest.Test(t, func(t *testing.T) {
				f := &follower{t: t, path: path, store: &store{}}
				test.run(t, f)
				f.stop()
				// Whatever happened, a restart finds nothing more to publish.
				n := len(f.store.messages())
				f.start()
				f.settle()
				f.stop()
				if got := f.store.messages(); len(got) != n {
					t.Errorf("a restart published %q again", got[n:])
				}
			})
		})
	}
}

// age makes a file older by some minutes than it is.
func age(t *testing.T, path string, minutes int) {
	t.Helper()
	now := time.Now()
	if info, err := os.Stat(path); err != nil {
		t.Fatal(err)
	} else {
		now = info.ModTime()
	}
	then := now.Add(-time.Duration(minutes) * time.Minute)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

type later struct{}

func (later) Error() string             { return "stream is full" }
func (later) RetryAfter() time.Duration { return 10 * time.Second }

func TestFollowWaitsForThePublisher(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	write(t, path, events(0, 3))
	synctest.Test(t, func(t *testing.T) {
		f := &follower{t: t, path: path, store: &store{answer: func(n int) (bool, error) {
			if n <= 3 {
				return false, later{}
			}
			return true, nil
		}}}
		f.start()
		f.want(nil)
		<-time.After(29 * time.Second)
		synctest.Wait()
		f.want(nil)
		<-time.After(2 * time.Second)
		synctest.Wait()
		f.want(numbers(0, 3))
		f.stop()
	})
}

// crash ends a run in the middle, as kill -9 does.
var crash = errors.New("crash")

// TestFollowLosesAndRepeatsNothing kills the follower at random publishes, some
// of which were stored without an answer, while the file grows, rotates and
// holds events of several services and kinds.
func TestFollowLosesAndRepeatsNothing(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 7))
		path := filepath.Join(t.TempDir(), "app.log")
		synctest.Test(t, func(t *testing.T) {
			f := &follower{t: t, path: path, store: &store{}}
			dying := true
			f.store.answer = func(int) (bool, error) {
				if dying && random.IntN(3) == 0 {
					return random.IntN(2) == 0, crash
				}
				return true, nil
			}
			n := 0
			for step := range 12 {
				dying = step < 11
				var text strings.Builder
				for range random.IntN(40) {
					service := []string{"api", "web", "ä/ü #1"}[random.IntN(3)]
					fmt.Fprintf(&text, `{"message":"%d","service":%q,"level":"INFO","pad":%q}`+"\n", n, service, strings.Repeat("x", random.IntN(4000)))
					n++
				}
				extend(t, path, text.String())
				if len(f.store.frames) > 0 && random.IntN(4) == 0 {
					for i := step; i > 0; i-- {
						from, to := fmt.Sprintf("%s.%d", path, i), fmt.Sprintf("%s.%d", path, i+1)
						if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
							t.Fatal(err)
						}
					}
					age(t, path, 100-step)
					rename(t, path, path+".1")
					write(t, path, "")
				}
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- f.file().Run(ctx) }()
				f.settle()
				for range 3 {
					f.settle()
				}
				cancel()
				if err := <-done; err != nil && !errors.Is(err, crash) {
					t.Fatal(err)
				}
			}
			seen := map[string]int{}
			last := map[string]int{}
			for _, fr := range f.store.frames {
				for _, l := range fr.lines {
					m := message(l)
					seen[m]++
					i, err := strconv.Atoi(m)
					if err != nil {
						t.Fatal(err)
					}
					if before, ok := last[fr.service]; ok && before >= i {
						t.Errorf("seed %d: %s: %d after %d", seed, fr.service, i, before)
					}
					last[fr.service] = i
				}
			}
			for i := range n {
				if c := seen[fmt.Sprint(i)]; c != 1 {
					t.Errorf("seed %d: event %d of %d is stored %d times", seed, i, n, c)
				}
			}
		})
	}
}
