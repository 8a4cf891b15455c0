package spoolsoak_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/spool"
)

// Environment of the publisher that is killed: this program again.
const (
	childURL   = "SPOOLSOAK_URL"
	childDir   = "SPOOLSOAK_DIR"
	childLife  = "SPOOLSOAK_LIFE"
	childPause = "SPOOLSOAK_PAUSE" // between calls
)

func TestMain(m *testing.M) {
	if os.Getenv(childURL) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

const (
	writers = 4
	perCall = 100 // events
)

// child publishes until it is killed or told to end. It says on standard output
// which events Publish has taken: the number of the writer and of the call.
func child() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pause, err := time.ParseDuration(os.Getenv(childPause))
	if err != nil {
		return err
	}
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: os.Getenv(childURL), Later: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Partitions: 2, Spool: spool.Config{Dir: os.Getenv(childDir), MaxBytes: 8 << 30}})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format, args...)
		out.Flush()
	}
	say("open\n")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			pace := time.NewTicker(max(pause, 1))
			defer pace.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				if publisher.Publish(context.WithoutCancel(ctx), call(os.Getenv(childLife), w, n)...) == nil {
					say("%d %d\n", w, n)
				}
				if pause > 0 {
					<-pace.C
				}
			}
		})
	}
	all.Wait()
	last, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return publisher.Close(last)
}

// call makes the events of a call; the message of each is its name.
func call(life string, w, n int) []schemas.Event {
	events := make([]schemas.Event, perCall)
	for i := range events {
		events[i] = schemas.Event{
			Kind: schemas.KindLog, Service: "s" + strconv.Itoa(w), Level: "INFO", Message: name(life, w, n, i),
			Attributes: map[string]any{"path": "/appointments/" + strconv.Itoa(i*n%977), "status_code": 200 + i%3, "duration_ms": float64(i*n%1000) / 4},
		}
	}
	return events
}

func name(life string, w, n, i int) string { return fmt.Sprintf("%s/%d/%d/%d", life, w, n, i) }
