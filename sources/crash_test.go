package sources_test

import (
	"context"
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
)

// TestFollowRemembers takes the frames away, as the broker does after days.
func TestFollowRemembers(t *testing.T) {
	dir := t.TempDir()
	path, remember := filepath.Join(dir, "app.log"), filepath.Join(dir, "position")
	write(t, path, events(0, 3))
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		run := func(want []string) {
			t.Helper()
			s.frames = nil
			f := &follower{t: t, path: path, store: s, remember: remember}
			f.start()
			<-time.After(time.Minute)
			synctest.Wait()
			f.stop()
			f.want(want)
		}
		run(numbers(0, 3))
		extend(t, path, events(3, 5))
		run(numbers(3, 5))
		run(nil)
		rename(t, path, path+".1")
		write(t, path, events(5, 6))
		run(numbers(5, 6))
		run(nil)
		write(t, path, events(6, 20)) // a file of which nothing is stored
		run(numbers(6, 20))
		write(t, remember, "\x00garbage")
		run(numbers(0, 20)[6:])
		remember = ""
		run(numbers(0, 20)[6:])
	})
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
	for seed := range uint64(60) {
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
				file := f.file()
				file.Poll = time.Second // as coarse as the grace: the broker, not the clock, is what varies
				go func() { done <- file.Run(ctx) }()
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
