package sources_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dermai/millrace/schemas"
	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestFileRefusesBadLines reads every bad line between good ones.
func TestFileRefusesBadLines(t *testing.T) {
	var text strings.Builder
	var want []string
	for _, bad := range badLines {
		text.WriteString(event("good") + bad.line + "\n")
		want = append(want, bad.field+": "+bad.reason)
	}
	path := filepath.Join(t.TempDir(), "app.log")
	write(t, path, text.String())
	s := &store{}
	r := prometheus.NewRegistry()
	var got []string
	var tally sources.Tally
	file := sources.File{Path: path, Inlet: sources.Inlet{
		Publisher: s,
		Defaults:  sources.Defaults{Service: "api"},
		Tally:     &tally,
		Metrics:   sources.NewMetrics(r),
		Refused: func(_ context.Context, line []byte, offset int64, err error) error {
			bad := badLines[len(got)]
			if string(line) != bad.line || offset != int64(strings.Index(text.String(), "\n"+bad.line+"\n")+1) {
				t.Errorf("%s: got %.40q at %d", bad.name, line, offset)
			}
			reason, _, _ := strings.Cut(err.Error(), "; ")
			if bad.field == "" {
				reason = ": " + reason
			}
			got = append(got, reason)
			return nil
		},
	}}
	if err := file.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(s.messages()); n != len(badLines) || tally.Published.Load() != int64(n) || tally.Refused.Load() != int64(len(want)) {
		t.Errorf("stored %d; published %d, refused %d", n, tally.Published.Load(), tally.Refused.Load())
	}
	if n := testutil.ToFloat64(counter(t, r, "millrace_source_refused_total", "invalid")); n != float64(len(want)) {
		t.Errorf("counted %v", n)
	}
	if n := testutil.ToFloat64(counter(t, r, "millrace_follow_lag_bytes", path)); n != 0 {
		t.Errorf("%v bytes behind", n)
	}
}

func TestFileEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	write(t, path, event("0")+strings.TrimSuffix(event("1"), "\n"))
	s := &store{}
	file := sources.File{Path: path, Stored: s.stored, Inlet: sources.Inlet{Publisher: s, Defaults: sources.Defaults{Service: "api"}}}
	for range 2 { // the second time there is nothing to do
		if err := file.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbers(0, 2), s.messages()); diff != "" {
			t.Error(diff)
		}
	}
	file.Stored = nil // and without the past, everything
	if err := file.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"0", "1", "0", "1"}, s.messages()); diff != "" {
		t.Error(diff)
	}
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "app.log"), event("0")+"bad\n")
	in := sources.Inlet{Publisher: &store{}, Defaults: sources.Defaults{Service: "api"}}
	full := in
	full.Refused = func(context.Context, []byte, int64, error) error { return fs.ErrPermission }
	broken := in
	broken.Publisher = &store{answer: func(int) (bool, error) { return false, crash }}
	for _, test := range []struct {
		name string
		file sources.File
		is   error
		want string
	}{
		{"no file", sources.File{Path: filepath.Join(dir, "none"), Inlet: in}, fs.ErrNotExist, `follow "`},
		{"a directory", sources.File{Path: dir, Inlet: in}, nil, "is no regular file; publish - reads a pipe"},
		{"a directory, followed", sources.File{Path: dir, Follow: true, Inlet: in}, nil, "is no regular file"},
		{"nothing configured", sources.File{Poll: -1, Grace: -1}, nil, "publisher: missing\npath: missing\npoll: -1ns is negative\ngrace: -1ns is negative"},
		{"nobody takes what is refused", sources.File{Path: filepath.Join(dir, "app.log"), Inlet: full}, fs.ErrPermission, "refuse the line at offset 31: "},
		{"the broker is away", sources.File{Path: filepath.Join(dir, "app.log"), Inlet: broken}, crash, "publish 1 events as log of api: crash"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.file.Run(context.Background())
			if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestPipe(t *testing.T) {
	r, w := io.Pipe()
	got := make(chan []string)
	s := &store{}
	s.answer = func(int) (bool, error) { return true, nil }
	pipe := sources.Pipe{Reader: r, Inlet: sources.Inlet{
		Publisher: notify{s, got},
		Defaults:  sources.Defaults{Service: "api"},
	}}
	done := make(chan error)
	go func() { done <- pipe.Run(context.Background()) }()
	// What is complete is published though the pipe stays open.
	io.WriteString(w, event("0")+`{"message":`)
	if diff := cmp.Diff([]string{"0"}, <-got); diff != "" {
		t.Fatal(diff)
	}
	go func() {
		io.WriteString(w, `"1"}`) // and at the end what has no newline
		w.Close()
	}()
	if diff := cmp.Diff([]string{"0", "1"}, <-got); diff != "" {
		t.Fatal(diff)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// notify tells what is stored after each frame.
type notify struct {
	*store
	stored chan<- []string
}

func (n notify) PublishEncoded(ctx context.Context, kind schemas.Kind, service string, lines [][]byte, source string) error {
	err := n.store.PublishEncoded(ctx, kind, service, lines, source)
	n.stored <- n.messages()
	return err
}

func TestPipeEndsWithItsContext(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	pipe := sources.Pipe{Reader: r, Inlet: sources.Inlet{Publisher: &store{}}}
	done := make(chan error)
	go func() { done <- pipe.Run(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the reader is still open")
	}
}

func TestPipeErrors(t *testing.T) {
	if err := new(sources.Pipe).Run(context.Background()); err == nil || !strings.Contains(err.Error(), "publisher: missing\nreader: missing") {
		t.Errorf("got %v", err)
	}
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, event("0"))
		w.CloseWithError(crash)
	}()
	s := &store{}
	pipe := sources.Pipe{Reader: r, Inlet: sources.Inlet{Publisher: s, Defaults: sources.Defaults{Service: "api"}}}
	if err := pipe.Run(context.Background()); !errors.Is(err, crash) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(numbers(0, 1), s.messages()); diff != "" {
		t.Error(diff)
	}
}
