package sources_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
)

// TestMain turns the test binary into a process that follows a file when asked
// to, so that a test can kill it.
func TestMain(m *testing.M) {
	if path := os.Getenv("MILLRACE_TEST_FOLLOW"); path != "" {
		if err := follow(path, os.Getenv("MILLRACE_TEST_URL")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func follow(path, url string) error {
	ctx := context.Background()
	conn, err := pipeline.Connect(ctx, pipeline.Config{URL: url})
	if err != nil {
		return err
	}
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Partitions: 2})
	if err != nil {
		return err
	}
	file := sources.File{
		Inlet:  sources.Inlet{Publisher: publisher, Defaults: sources.Defaults{Service: "api"}},
		Path:   path,
		Follow: true,
		Stored: conn.Stored,
		Poll:   5 * time.Millisecond,
		Grace:  50 * time.Millisecond,
	}
	return file.Run(ctx)
}

var streams = []string{schemas.Partition(0).Stream(), schemas.Partition(1).Stream(), schemas.StreamAudit}

// startBroker runs a broker with streams until the test ends.
func startBroker(t *testing.T) (*broker.Server, *pipeline.Conn) {
	t.Helper()
	server, err := broker.Start(broker.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	conn, err := pipeline.Connect(t.Context(), pipeline.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if _, err := pipeline.Apply(t.Context(), conn, pipeline.Layout{Partitions: 2, Archived: true}, false); err != nil {
		t.Fatal(err)
	}
	return server, conn
}

// eachStored reads every event that the broker has.
func eachStored(t *testing.T, conn *pipeline.Conn, each func(schemas.Event)) {
	t.Helper()
	log := conn.Log()
	defer log.Close()
	for _, stream := range streams {
		info, err := log.Info(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		for from := uint64(1); from <= info.Last; {
			entries, err := log.Read(t.Context(), stream, from, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				from = e.Seq + 1
				body, err := schemas.Unpack(nil, e.Data, schemas.FrameDecoded)
				if err != nil {
					t.Fatal(err)
				}
				for _, line := range schemas.Lines(body) {
					ev, err := schemas.Decode(line, schemas.Origin{})
					if err != nil {
						t.Fatalf("%s: %v", line, err)
					}
					each(ev)
				}
			}
		}
	}
}

// frameCount tells how many messages the streams have ever had.
func frameCount(t *testing.T, conn *pipeline.Conn) (n uint64) {
	t.Helper()
	log := conn.Log()
	defer log.Close()
	for _, stream := range streams {
		info, err := log.Info(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Last
	}
	return n
}

// TestKillFollower kills -9 a process that follows a file, again and again,
// while the file grows and is rotated, and reads back what the broker has.
func TestKillFollower(t *testing.T) {
	server, conn := startBroker(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "app.log")
	random := rand.New(rand.NewPCG(1, 2))
	written := 0
	grow := func(n int) {
		var text strings.Builder
		for range n {
			kind := `"level":"INFO","message"`
			if random.IntN(4) == 0 {
				kind = `"user":"u","action":"READ","resource"`
			}
			fmt.Fprintf(&text, `{"id":"%d","service":"s%d",%s:"m"}`+"\n", written, random.IntN(2), kind)
			written++
		}
		extend(t, path, text.String())
	}
	const rounds = 12
	for round := range rounds {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "MILLRACE_TEST_FOLLOW="+path, "MILLRACE_TEST_URL="+server.URL())
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		frames := frameCount(t, conn) + 1 + uint64(random.IntN(6))
		poll(t, "the follower stores frames", func() bool {
			grow(random.IntN(50))
			return frameCount(t, conn) >= frames
		})
		if round == rounds-1 {
			grow(10)
			poll(t, "the follower stores everything", func() bool {
				n := 0
				eachStored(t, conn, func(schemas.Event) { n++ })
				return n >= written
			})
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // killed
		if round%4 == 3 && round < rounds-1 {
			os.Rename(path+".1", path+".2") // the first time there is none
			rename(t, path, path+".1")
			grow(20)
		}
	}
	seen := map[string]int{}
	eachStored(t, conn, func(e schemas.Event) { seen[e.ID]++ })
	for i := range written {
		if n := seen[fmt.Sprint(i)]; n != 1 {
			t.Errorf("event %d of %d is stored %d times", i, written, n)
		}
	}
}

// poll waits for something that other processes do.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestDoorToBroker sends a request through to a broker, and one to none.
func TestDoorToBroker(t *testing.T) {
	server, conn := startBroker(t)
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	door := sources.NewDoor(publisher, sources.DoorConfig{})
	for i, bad := range badLines {
		if a := post(t, door, "/?service=api", bad.line+"\n"+event("m"), ndjson); a.status != http.StatusBadRequest {
			t.Errorf("%s: %+v", bad.name, a)
		}
		if i%10 == 0 {
			if a := post(t, door, "/?service=api", event(fmt.Sprint(i))); a.status != http.StatusAccepted {
				t.Errorf("after %s: %+v", bad.name, a)
			}
		}
	}
	a := post(t, door, "/?service=api", zip(events(100, 5000)), "Content-Encoding: gzip")
	if a.status != http.StatusAccepted || a.Accepted != 4900 {
		t.Fatalf("%+v", a)
	}
	n := 0
	eachStored(t, conn, func(schemas.Event) { n++ })
	if want := 4900 + (len(badLines)+9)/10; n != want {
		t.Errorf("%d events are stored, want %d", n, want)
	}
	server.Shutdown()
	door = sources.NewDoor(publisher, sources.DoorConfig{StoreTimeout: 200 * time.Millisecond})
	a = post(t, door, "/?service=api", event("m"))
	if a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
		t.Errorf("without a broker: %+v", a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	publisher.Close(ctx) // there is nobody to close it with
}
