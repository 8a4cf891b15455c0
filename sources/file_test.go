package sources_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
)

// follower follows a file within a synctest bubble.
type follower struct {
	t       *testing.T
	path    string
	store   *store
	refused []string
	tally   sources.Tally
	stop    func()

	remember string
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

		Remember: f.remember,
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
			write(t, f.path, "\xef\xbb\xbf"+`{"message":"0"}`+"\r\n\r\n  \nTraceback:\r\n"+long+event("1"))
			f.start()
			f.want(numbers(0, 2))
			want := []string{
				`25 "Traceback:" not valid JSON at byte 0`,
				`37 "{\"message\":\"xxxxxxxx" line is over 262144 bytes; shorten its texts, or send them elsewhere and refer to them`,
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
