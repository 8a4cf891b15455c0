// Package archivetest holds the contract of archive.Store as a test.
//
// The invariant: what it asks for is what the archive's promises stand on, and
// nothing else, so that a driver that passes keeps every message.
package archivetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/dermai/millrace/archive"
	"github.com/google/go-cmp/cmp"
)

// Conformance checks a store. newStore gives an empty one.
func Conformance(t *testing.T, newStore func(t *testing.T) archive.Store) {
	tests := []struct {
		name string
		test func(*testing.T, context.Context, archive.Store)
	}{
		{"put and get", testPutGet},
		{"ranges", testRanges},
		{"an object is never replaced", testNeverReplaced},
		{"one of many writers wins", testRace},
		{"no object is seen in part", testWhole},
		{"a failed put leaves nothing", testFailedPut},
		{"listing", testList},
		{"odd keys", testKeys},
		{"missing keys", testMissing},
		{"ended context", testEnded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, t.Context(), newStore(t)) })
	}
}

func put(ctx context.Context, s archive.Store, key string, body []byte) error {
	return s.Put(ctx, key, bytes.NewReader(body), int64(len(body)))
}

func mustPut(t *testing.T, ctx context.Context, s archive.Store, key, body string) {
	t.Helper()
	if err := put(ctx, s, key, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, s archive.Store, key string, off, n int64) (string, error) {
	r, err := s.Get(ctx, key, off, n)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func wantGet(t *testing.T, ctx context.Context, s archive.Store, key, want string) {
	t.Helper()
	got, err := get(ctx, s, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("get %s: %d bytes that are not the %d that were put", key, len(got), len(want))
	}
}

// keys collects a listing.
func keys(t *testing.T, listing iter.Seq2[archive.Object, error]) []string {
	t.Helper()
	var out []string
	for o, err := range listing {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o.Key)
	}
	return out
}

// noise is n bytes that do not compress, the same for the same seed.
func noise(seed string, n int) []byte {
	b := make([]byte, 0, n+sha256.Size)
	for i := uint64(0); len(b) < n; i++ {
		h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(seed), i))
		b = append(b, h[:]...)
	}
	return b[:n]
}

func testPutGet(t *testing.T, ctx context.Context, s archive.Store) {
	bodies := map[string]string{
		"a":                      "",
		"b/c":                    "one",
		"b/d/e=f/g-h.jsonl.zst":  "\x00\xff\n",
		strings.Repeat("k", 255): "a long name",
		"big":                    string(noise("big", 12<<20)),
	}
	for key, body := range bodies {
		mustPut(t, ctx, s, key, body)
	}
	for key, body := range bodies {
		wantGet(t, ctx, s, key, body)
	}
}

func testRanges(t *testing.T, ctx context.Context, s archive.Store) {
	mustPut(t, ctx, s, "a", "0123456789")
	for _, c := range []struct {
		off, n int64
		want   string
	}{
		{0, -1, "0123456789"}, {3, -1, "3456789"}, {0, 4, "0123"}, {3, 4, "3456"}, {8, 4, "89"}, {0, 99, "0123456789"},
	} {
		got, err := get(ctx, s, "a", c.off, c.n)
		if err != nil || got != c.want {
			t.Errorf("get %d bytes at %d: %q, %v; want %q", c.n, c.off, got, err, c.want)
		}
	}
	if got, err := get(ctx, s, "a", -1, 2); err == nil {
		t.Errorf("get at a negative offset: %q; want an error", got)
	}
}

func testNeverReplaced(t *testing.T, ctx context.Context, s archive.Store) {
	mustPut(t, ctx, s, "d/a", "first")
	for _, body := range []string{"second", "first", ""} {
		if err := put(ctx, s, "d/a", []byte(body)); !errors.Is(err, archive.ErrExists) {
			t.Errorf("put %q over an object: %v; want ErrExists", body, err)
		}
	}
	wantGet(t, ctx, s, "d/a", "first")
}

func testRace(t *testing.T, ctx context.Context, s archive.Store) {
	const names, writers = 20, 8
	for k := range names {
		key := fmt.Sprintf("new/%d/object", k)
		errs := make([]error, writers)
		bodies := make([]string, writers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for w := range writers {
			bodies[w] = string(noise(fmt.Sprint(k, w), 10_000+w))
			wg.Go(func() {
				<-start
				errs[w] = put(ctx, s, key, []byte(bodies[w]))
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("%s: writers %d and %d both won", key, winner, w)
			case err == nil:
				winner = w
			case !errors.Is(err, archive.ErrExists):
				t.Fatalf("%s: writer %d: %v; want ErrExists", key, w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody won", key)
		}
		wantGet(t, ctx, s, key, bodies[winner])
	}
}

// testWhole looks at the store all the while objects are written.
func testWhole(t *testing.T, ctx context.Context, s archive.Store) {
	const objects, size = 20, 1 << 20
	name := func(i int) string { return fmt.Sprintf("whole/%02d", i) }
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < objects && err == nil; i++ {
			// One byte short of whole for as long as can be.
			err = s.Put(ctx, name(i), iotest.HalfReader(bytes.NewReader(noise(name(i), size))), size)
		}
		done <- err
	}()
	for finished := false; !finished; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			finished = true
		default:
		}
		for o, err := range s.List(ctx, "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if o.Size != size {
				t.Fatalf("listed %s with %d bytes while it was written", o.Key, o.Size)
			}
		}
		for i := range objects {
			got, err := get(ctx, s, name(i), 0, -1)
			if errors.Is(err, archive.ErrNotFound) {
				break
			}
			if err != nil || got != string(noise(name(i), size)) {
				t.Fatalf("get %s while objects are written: %d bytes, %v", name(i), len(got), err)
			}
		}
	}
	if got := keys(t, s.List(ctx, "", "")); len(got) != objects {
		t.Fatalf("%d objects in the end, want %d", len(got), objects)
	}
}

func testFailedPut(t *testing.T, ctx context.Context, s archive.Store) {
	broken := errors.New("broken")
	if err := s.Put(ctx, "d/a", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), 8); !errors.Is(err, broken) {
		t.Errorf("put of a body that breaks: %v; want its error", err)
	}
	for _, size := range []int64{3, 5} {
		if err := s.Put(ctx, "d/a", strings.NewReader("four"), size); err == nil {
			t.Errorf("put of 4 bytes as %d: no error", size)
		}
	}
	if got := keys(t, s.List(ctx, "", "")); len(got) > 0 {
		t.Errorf("failed puts left %q", got)
	}
	mustPut(t, ctx, s, "d/a", "four")
	wantGet(t, ctx, s, "d/a", "four")
}

func testList(t *testing.T, ctx context.Context, s archive.Store) {
	// A slash sorts behind "-" and "." and before digits: keys are ordered as
	// strings, whatever a driver keeps them in.
	want := []string{"a-b", "a.b", "a/b", "a/c/d", "a/c/e", "a0", "b"}
	for i := range 1100 {
		want = append(want, fmt.Sprintf("many/%05d", i))
	}
	for _, i := range []int{5, 3, 0, 6, 1, 4, 2} {
		mustPut(t, ctx, s, want[i], "x")
	}
	errs := make(chan error)
	for w := range 32 {
		go func() {
			var err error
			for i := 7 + w; i < len(want); i += 32 {
				err = errors.Join(err, put(ctx, s, want[i], []byte("x")))
			}
			errs <- err
		}()
	}
	for range 32 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	for _, c := range []struct{ prefix, after string }{
		{"", ""}, {"a", ""}, {"a/", ""}, {"a/c", ""}, {"a/c/d", ""}, {"none", ""}, {"many/010", ""},
		{"", "a"}, {"", "a/"}, {"", "a/b"}, {"", "a/c"}, {"", "a/c/~"}, {"", "a~"}, {"", "zz"},
		{"many/", "many/01097"}, {"many/", "a"}, {"a/", "many"}, {"many/", "many/~"},
	} {
		var expect []string
		for _, key := range want {
			if strings.HasPrefix(key, c.prefix) && key > c.after {
				expect = append(expect, key)
			}
		}
		if diff := cmp.Diff(expect, keys(t, s.List(ctx, c.prefix, c.after))); diff != "" {
			t.Errorf("list %q after %q (-want +got):\n%s", c.prefix, c.after, diff)
		}
	}
	// Page by page, each beginning behind the last key of the page before.
	var got []string
	for after := ""; ; {
		n := 0
		for o, err := range s.List(ctx, "", after) {
			if err != nil {
				t.Fatal(err)
			}
			if o.Size != 1 {
				t.Fatalf("%s is listed with %d bytes", o.Key, o.Size)
			}
			got, after = append(got, o.Key), o.Key
			if n++; n == 100 {
				break
			}
		}
		if n == 0 {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages of 100 (-want +got):\n%s", diff)
	}
}

func testKeys(t *testing.T, ctx context.Context, s archive.Store) {
	odd := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "a/./b", "./a", ".a", "a/.tmp/b", ".tmp/x",
		"a b", "a\nb", "a\x00b", "a\\b", "..\\a", "ä", "a\xff", "a:b", "a*", "a?", "%2e%2e/a", "a%2fb", "~a",
		strings.Repeat("k", 256), strings.Repeat("k/", 512) + "k",
	}
	for _, key := range odd {
		if err := put(ctx, s, key, []byte("x")); err == nil || errors.Is(err, archive.ErrExists) {
			t.Errorf("put %q: %v; want it refused", key, err)
		}
		if _, err := get(ctx, s, key, 0, -1); err == nil || errors.Is(err, archive.ErrNotFound) {
			t.Errorf("get %q: %v; want it refused", key, err)
		}
	}
	if got := keys(t, s.List(ctx, "", "")); len(got) > 0 {
		t.Errorf("refused keys left %q", got)
	}
	for _, prefix := range []string{"..", "../", "/", ".tmp/", "\x00"} {
		if got := keys(t, s.List(ctx, prefix, "")); len(got) > 0 {
			t.Errorf("list %q: %q", prefix, got)
		}
	}
}

func testMissing(t *testing.T, ctx context.Context, s archive.Store) {
	mustPut(t, ctx, s, "a/b", "x")
	for _, key := range []string{"b", "a", "a/b/c", "a/c"} {
		if _, err := get(ctx, s, key, 0, -1); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("get %q: %v; want ErrNotFound", key, err)
		}
	}
	if err := put(ctx, s, "a", []byte("x")); errors.Is(err, archive.ErrExists) {
		t.Errorf("put %q, a directory of another key: %v; there is no such object", "a", err)
	}
}

func testEnded(t *testing.T, ctx context.Context, s archive.Store) {
	mustPut(t, ctx, s, "a", "x")
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := put(ctx, s, "b", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v; want context.Canceled", err)
	}
	if _, err := get(ctx, s, "a", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v; want context.Canceled", err)
	}
	for _, err := range s.List(ctx, "", "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v; want context.Canceled", err)
		}
	}
}
