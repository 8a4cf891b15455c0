package receivers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// patience bounds a wait for another process.
const patience = time.Minute

// spotlight starts a Spotlight, which takes what Sentry takes, and returns its
// URL. It ends with the test.
func spotlight(t *testing.T) string {
	t.Helper()
	node := testenv.Need(t, "node")
	testenv.Need(t, "npm")
	install := exec.CommandContext(t.Context(), "../../scripts/install-spotlight.sh")
	install.Stderr = os.Stderr
	program, err := install.Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "--require", "./spotlight/loopback.cjs", strings.TrimSpace(string(program)), "server", "-p", "0")
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "SPOTLIGHT_DISABLE_TELEMETRY=1", "SENTRY_DSN=")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	port := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(port)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				port <- m[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() { // the context of the test has ended by now
		<-read
		_ = cmd.Wait()
	})
	select {
	case p, ok := <-port:
		if !ok {
			t.Fatal("spotlight ended before it listened")
		}
		onLoopback(t, p)
		return "http://127.0.0.1:" + p
	case <-time.After(patience):
		t.Fatal("spotlight does not listen")
	}
	return ""
}

// onLoopback checks that a port listens on 127.0.0.1 and on no other address of
// this machine.
func onLoopback(t *testing.T, port string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLinkLocalUnicast() { // needs a zone
			continue
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(prefix.Addr().String(), port))
		if err == nil {
			conn.Close()
		}
		if open := err == nil; open != (prefix.Addr().String() == "127.0.0.1") {
			t.Errorf("spotlight listens on %s: %t", prefix.Addr(), open)
		}
	}
}

var listening = regexp.MustCompile(`listening on (\d+)`)

// received follows the events that Spotlight shows its readers.
func received(t *testing.T, url string) <-chan map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan map[string]any)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			data, found := strings.CutPrefix(lines.Text(), "data:")
			// An envelope is [header, [[item header, item], ...]].
			var envelope [2]json.RawMessage
			var items [][2]json.RawMessage
			if !found || json.Unmarshal([]byte(data), &envelope) != nil || json.Unmarshal(envelope[1], &items) != nil {
				continue
			}
			for _, item := range items {
				var event map[string]any
				if json.Unmarshal(item[1], &event) != nil {
					continue
				}
				select {
				case events <- event:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return events
}

// TestSentry: a server that is not ours understands the alerts and the errors
// that are sent, and shows what the golden files show.
func TestSentry(t *testing.T) {
	url := spotlight(t)
	events := received(t, url)
	options := notify.NewOptions([]byte(strings.Replace("{dsn: '"+url+"/1', environment: production, release: shop@1.2.3}", "http://", "http://abc@", 1)))
	cfg := notify.Config{Receivers: []notify.ReceiverConfig{{Name: "team", Type: "sentry", Options: options}}}
	alerts, err := sinks.Open(cfg, sinks.Builtin(), sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	failures, err := sinks.BuiltinEvents()["sentry"]("errors", options, sinks.Env{Getenv: os.Getenv, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}

	hostile := sinkstest.Hostile()
	for i, n := range append(hostile, sinkstest.Notification()) {
		if _, err := alerts["team"].Send(t.Context(), n); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		got := next(t, events)
		if got["event_id"] != n.ID || got["environment"] != "production" || got["release"] != "shop@1.2.3" {
			t.Fatalf("got %.300v, want the event %s", got, n.ID)
		}
	}

	e := sinks.Delivered{Stream: "EVENTS_3", Seq: 7, Index: 2, Time: 1772366400e9, Event: &schemas.Event{
		Kind: schemas.KindLog, Service: "api", Level: "ERROR", Message: "Jane Doe",
		Error: &schemas.Error{Type: "ValueError", Message: "Jane Doe", Stack: "Traceback (most recent call last):\n" +
			"  File \"/srv/app/main.py\", line 88, in create\n    add('Jane Doe')\nValueError: Jane Doe\n"},
	}}
	if err := failures.Write(t.Context(), []sinks.Delivered{e}); err != nil {
		t.Fatal(err)
	}
	got := next(t, events)
	want := []any{map[string]any{"type": "ValueError", "stacktrace": map[string]any{"frames": []any{
		map[string]any{"function": "create", "filename": "/srv/app/main.py", "lineno": 88.0, "in_app": true},
	}}}}
	if diff := cmp.Diff(any(map[string]any{"values": want}), got["exception"]); diff != "" {
		t.Errorf("exception (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(got), "Jane") {
		t.Errorf("patient data arrived: %v", got)
	}
}

func next(t *testing.T, events <-chan map[string]any) map[string]any {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the stream ended")
		}
		return e
	case <-time.After(patience):
		t.Fatal("nothing arrives")
	}
	return nil
}
