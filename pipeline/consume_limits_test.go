package pipeline_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/nats-io/nats.go/jetstream"
)

// publishFrames stores messages with so many events each, in partition 0.
func publishFrames(t *testing.T, js jetstream.JetStream, messages, events int, text string) {
	t.Helper()
	line := `{"level":"INFO","message":"` + text + "\"}\n"
	for range messages {
		if _, err := js.Publish(t.Context(), "ingest.log.shop", []byte(strings.Repeat(line, events))); err != nil {
			t.Fatal(err)
		}
	}
}

// state is what the broker says of a consumer of partition 0, empty if there is
// none yet.
func state(t *testing.T, js jetstream.JetStream, name string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := js.Consumer(t.Context(), "EVENTS_0", name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return &jetstream.ConsumerInfo{}
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// TestConsumeMemory has a handler that does not go on: no more messages are taken
// than may be in hand, and the lag tells of those that come meanwhile.
func TestConsumeMemory(t *testing.T) {
	s, _ := deploy(t)
	const size, most = 200 << 10, 1<<20 + 2<<20 // in hand, and on their way
	publishFrames(t, admin(t, s), 64, 1, strings.Repeat("x", size))
	sub := all(s.Connect(t), "stuck")
	sub.MaxBytes, sub.AckWait = 1<<20, time.Second
	goOn := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(goOn) }) }
	defer release()
	var got seen
	consuming(t, sub, func(ctx context.Context, d pipeline.Delivery) error {
		<-goOn
		return got.handle(ctx, d)
	})
	js := admin(t, s)
	pipelinetest.Within(t, "ask for no more", func() bool {
		is := state(t, js, "stuck")
		return is.NumAckPending*size >= sub.MaxBytes && is.NumWaiting == 0
	})
	if n := state(t, js, "stuck").NumAckPending; n*size > most {
		t.Errorf("%d messages of %d bytes are in hand, at most %d bytes may", n, size, most)
	}
	publishFrames(t, admin(t, s), 10, 1, "more")
	pipelinetest.Within(t, "tell the lag", func() bool {
		return metric(t, s, "millrace_consumer_lag_messages", "stuck", "EVENTS_0") == float64(state(t, js, "stuck").NumPending)
	})
	release()
	s.Settled(t, "stuck")
	if got.len() != 74 {
		t.Errorf("%d events were handled, want 74", got.len())
	}
}

// TestConsumeLeavesNothing stops consumers in the middle of everything. The broker
// has a process of its own, since it keeps goroutines for each name.
func TestConsumeLeavesNothing(t *testing.T) {
	p := pipelinetest.StartProcess(t)
	c := connectURL(t, p.URL())
	if _, err := pipeline.Apply(t.Context(), c, pipeline.Layout{Partitions: 2}, false); err != nil {
		t.Fatal(err)
	}
	publishFrames(t, dial(t, p.URL()), 50, 20, "m")
	before := runtime.NumGoroutine()
	for _, concurrency := range []int{1, 8} {
		var got seen
		sub := all(c, fmt.Sprint("leaves-", concurrency))
		sub.Concurrency, sub.Retry = concurrency, pipeline.Retry{Min: time.Hour, Max: time.Hour}
		stop := consuming(t, sub, func(ctx context.Context, d pipeline.Delivery) error {
			if d.Position.Index%7 == 0 {
				return errors.New("later")
			}
			return got.handle(ctx, d)
		})
		pipelinetest.Within(t, "handle some", func() bool { return got.len() > 300 })
		stop()
	}
	pipelinetest.Within(t, "end every goroutine", func() bool { return runtime.NumGoroutine() <= before })
}

// TestConsumeGrace stops in the middle of a message: within the grace it is
// finished, behind it, it is left to others.
func TestConsumeGrace(t *testing.T) {
	s, c := deploy(t)
	publishFrames(t, admin(t, s), 2, 100, "m")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var got seen
	err := pipeline.Consume(ctx, all(c, "graceful"), func(handling context.Context, d pipeline.Delivery) error {
		stop()
		got.add(d)
		return handling.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.len() != 100 {
		t.Errorf("%d events were handled, want the 100 of the message that was begun", got.len())
	}

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	sub := all(c, "graceful")
	sub.Grace = time.Millisecond
	err = pipeline.Consume(ctx, sub, func(handling context.Context, d pipeline.Delivery) error {
		stop()
		<-handling.Done()
		return handling.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	var rest seen
	consuming(t, sub, rest.handle)
	s.Settled(t, "graceful")
	if rest.len() != 100 {
		t.Errorf("%d events were left to others, want the 100 of the second message", rest.len())
	}
}

// consumeURL makes the test binary a consumer that is to be killed.
const consumeURL = "MILLRACE_TEST_CONSUME"

// killedAfter is how many events it handles before it hangs, in the middle of a
// message.
const killedAfter = 1005

func killed(conn *pipeline.Conn) pipeline.Subscription {
	sub := all(conn, "killed")
	sub.AckWait = time.Second
	return sub
}

func consumeUntilKilled(url string) error {
	ctx := context.Background()
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: url})
	if err != nil {
		return err
	}
	n := 0
	return pipeline.Consume(ctx, killed(conn), func(_ context.Context, d pipeline.Delivery) error {
		if n++; n > killedAfter {
			select {}
		}
		_, err := fmt.Println(d.Position)
		return err
	})
}

// TestConsumeKilled kills a consumer: what the broker holds for settled was
// handled, and the next one gets all the rest and nothing of that.
func TestConsumeKilled(t *testing.T) {
	s, _ := deploy(t)
	const messages, events = 300, 10
	publishFrames(t, admin(t, s), messages, events, "m")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env, child.Stderr = append(os.Environ(), consumeURL+"="+s.URL()), os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	handled := map[string]int{}
	for lines := bufio.NewScanner(out); len(handled) < killedAfter && lines.Scan(); {
		handled[lines.Text()]++
	}
	js := admin(t, s)
	pipelinetest.Within(t, "settle something", func() bool { return state(t, js, "killed").AckFloor.Stream > 0 })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	settled := state(t, js, "killed").AckFloor.Stream
	for seq := uint64(1); seq <= settled; seq++ {
		for i := range events {
			if at := (pipeline.Position{Stream: "EVENTS_0", Seq: seq, Index: i}); handled[at.String()] != 1 {
				t.Errorf("%s is settled, but was handled %d times", at, handled[at.String()])
			}
		}
	}

	var got seen
	consuming(t, killed(s.Connect(t)), got.handle)
	s.Settled(t, "killed")
	for _, d := range got.list {
		if d.Position.Seq <= settled {
			t.Errorf("%s came again, though it was settled", d.Position)
		}
		handled[d.Position.String()]++
	}
	if len(handled) != messages*events {
		t.Errorf("%d events were handled, want %d", len(handled), messages*events)
	}
}
