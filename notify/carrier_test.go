package notify_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/rs/zerolog"
)

// answers is a receiver that answers with what it is told to.
type answers struct {
	next  error
	panic any
	asked int
	first string
	log   bytes.Buffer
}

func (a *answers) Send(context.Context, schemas.Notification) (string, error) {
	a.asked++
	if a.panic != nil {
		panic(a.panic)
	}
	return "ref", a.next
}

func (a *answers) Follow(ctx context.Context, n schemas.Notification, first string) (string, error) {
	a.first = first
	return a.Send(ctx, n)
}

type never struct{ error }

func (never) Permanent() bool { return true }

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// carry runs a test on a receiver that a router carries.
func carry(t *testing.T, test func(t *testing.T, a *answers, r notify.Receiver)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &answers{}
		c, err := notify.NewCarrier(nil, zerolog.New(&a.log))
		if err != nil {
			t.Fatal(err)
		}
		r := c.Carry("team", a)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		test(t, a, r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCarrier(t *testing.T) {
	n := schemas.Notification{ID: "n1"}
	t.Run("what is said comes back, at a distance", func(t *testing.T) {
		carry(t, func(t *testing.T, a *answers, r notify.Receiver) {
			if ref, err := r.Send(t.Context(), n); ref != "ref" || err != nil {
				t.Errorf("%q, %v", ref, err)
			}
			began := time.Now()
			if ref, err := r.(notify.Follower).Follow(t.Context(), n, "first"); ref != "ref" || err != nil || a.first != "first" {
				t.Errorf("%q, %v, first %q", ref, err, a.first)
			}
			if d := time.Since(began); d != 100*time.Millisecond {
				t.Errorf("the second after %v", d)
			}
		})
	})
	t.Run("a panic is its last word, and not shown", func(t *testing.T) {
		carry(t, func(t *testing.T, a *answers, r notify.Receiver) {
			a.panic = "hunter2"
			_, err := r.Send(t.Context(), n)
			if !permanent(err) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v", err)
			}
		})
	})
	t.Run("failures in a row open the breaker, and it closes again", func(t *testing.T) {
		carry(t, func(t *testing.T, a *answers, r notify.Receiver) {
			a.next = errors.New("down")
			for range 5 {
				if _, err := r.Send(t.Context(), n); !errors.Is(err, a.next) || permanent(err) {
					t.Errorf("%v", err)
				}
			}
			_, err := r.Send(t.Context(), n)
			var open interface {
				Ambiguous() bool
				RetryAfter() time.Duration
			}
			if a.asked != 5 || permanent(err) || !errors.As(err, &open) || open.Ambiguous() || open.RetryAfter() != time.Minute {
				t.Fatalf("asked %d times, then %v", a.asked, err)
			}
			a.next = nil
			<-time.After(open.RetryAfter() + 1)
			if _, err := r.Send(t.Context(), n); err != nil || a.asked != 6 {
				t.Errorf("asked %d times, then %v", a.asked, err)
			}
			want := `{"level":"warn","receiver":"team","answer":"down","message":"the receiver fails, and is left alone for a while; what it is to be told waits"}` + "\n" +
				`{"level":"info","receiver":"team","message":"the receiver answers again"}` + "\n"
			if got := a.log.String(); got != want {
				t.Errorf("the log says\n%s, want\n%s", got, want)
			}
		})
	})
	t.Run("who says never is there", func(t *testing.T) {
		carry(t, func(t *testing.T, a *answers, r notify.Receiver) {
			a.next = never{errors.New("channel_not_found")}
			for range 10 {
				if _, err := r.Send(t.Context(), n); !permanent(err) {
					t.Errorf("%v", err)
				}
			}
			if a.asked != 10 {
				t.Errorf("asked %d times", a.asked)
			}
		})
	})
	t.Run("nobody carries", func(t *testing.T) {
		c, err := notify.NewCarrier(nil, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		a := &answers{}
		if _, err := c.Carry("team", a).Send(ctx, n); err == nil || permanent(err) || a.asked != 0 {
			t.Errorf("%v, asked %d times", err, a.asked)
		}
	})
}
