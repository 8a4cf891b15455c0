package archive_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
)

// filled is an archive of two streams, one of them with a second generation.
// files are its objects, in order of their keys.
func filled(t *testing.T) (b *bench, files []string) {
	b = newBench(t)
	audit := b.archiver(t, archive.Config{Stream: "AUDIT"})
	events := b.archiver(t, archive.Config{NextGeneration: true})
	for i := range 4 {
		for j := range 5 {
			b.numbered(fmt.Sprint(i, j))
			b.put("audit.api.l1", event)
		}
		b.put(tickSubject, "")
		mustFlush(t, events)
		mustFlush(t, audit)
		if i == 1 {
			b.log.Rewind("EVENTS_0", 3)
		}
	}
	for o, err := range b.store.List(t.Context(), "l0/", "") {
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(b.dir, filepath.FromSlash(o.Key)))
	}
	return b, files
}

func (b *bench) problems(t *testing.T, o archive.Options) []archive.Problem {
	t.Helper()
	r, err := archive.Verify(t.Context(), b.store, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() != (len(r.Problems) == 0) {
		t.Errorf("OK is %v with %v", r.OK(), r.Problems)
	}
	return r.Problems
}

func (b *bench) key(file string) string {
	rel, _ := filepath.Rel(b.dir, file)
	return filepath.ToSlash(rel)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestVerifyReport(t *testing.T) {
	b, files := filled(t)
	for _, full := range []bool{false, true} {
		r, err := archive.Verify(t.Context(), b.store, archive.Options{Full: full})
		must(t, err)
		var got []string
		for _, c := range r.Chains {
			got = append(got, fmt.Sprintf("%s: %d objects, %d messages, %d ticks, to %d, missing %d", c.Chain, c.Objects, c.Count, c.Ticks, c.Last, len(c.Missing)))
		}
		created := archive.Epoch{Created: noon + 1e6}.String()
		audit := archive.Epoch{Created: noon + 2e6}.String()
		want := []string{
			"audit/AUDIT/" + audit + ": 4 objects, 20 messages, 0 ticks, to 20, missing 0",
			"telemetry/EVENTS_0/" + created + ": 2 objects, 12 messages, 2 ticks, to 12, missing 0",
			"telemetry/EVENTS_0/" + created + "-1: 2 objects, 12 messages, 2 ticks, to 15, missing 1",
		}
		if !slices.Equal(want, got) || !r.OK() || r.Full != full {
			t.Errorf("full %v: %v, problems %v\nwant %q\n got %q", full, r.Full, r.Problems, want, got)
		}
	}
	if len(files) != 8 {
		t.Errorf("%d objects, want 8", len(files))
	}
	r, err := archive.Verify(t.Context(), b.store, archive.Options{Streams: []string{"AUDIT"}})
	if err != nil || len(r.Chains) != 1 {
		t.Errorf("of AUDIT alone: %v, %v", r.Chains, err)
	}
}

// TestVerifyFindsTampering: whatever is done to an object, the full verification
// names it; to the keys and the order, the fast one does too.
func TestVerifyFindsTampering(t *testing.T) {
	read := func(t *testing.T, file string) []byte {
		body, err := os.ReadFile(file)
		must(t, err)
		return body
	}
	// Files 0 to 3 are those of AUDIT, 4 and 5 the generation 1 of EVENTS_0, 6 and 7
	// its generation 0.
	for _, test := range []struct {
		name string
		fast bool // found without reading the messages
		at   int  // the file that is named
		do   func(t *testing.T, files []string)
	}{
		{"removed", true, 2, func(t *testing.T, f []string) { must(t, os.Remove(f[1])) }},
		{"first removed", true, 1, func(t *testing.T, f []string) { must(t, os.Remove(f[0])) }},
		{"cut", true, 1, func(t *testing.T, f []string) { must(t, os.Truncate(f[1], 100)) }},
		{"emptied", true, 1, func(t *testing.T, f []string) { must(t, os.Truncate(f[1], 0)) }},
		{"longer", true, 1, func(t *testing.T, f []string) { must(t, os.WriteFile(f[1], append(read(t, f[1]), 'x'), 0o600)) }},
		{"replaced by another", true, 1, func(t *testing.T, f []string) { must(t, os.WriteFile(f[1], read(t, f[2]), 0o600)) }},
		{"two exchanged", true, 1, func(t *testing.T, f []string) {
			one, two := read(t, f[1]), read(t, f[2])
			must(t, os.WriteFile(f[1], two, 0o600))
			must(t, os.WriteFile(f[2], one, 0o600))
		}},
		{"a message altered", false, 1, func(t *testing.T, f []string) {
			body := read(t, f[1])
			body[40] ^= 1
			must(t, os.WriteFile(f[1], body, 0o600))
		}},
		{"written anew with an altered message", true, 2, func(t *testing.T, f []string) {
			records, r, err := readObject(read(t, f[1]))
			must(t, err)
			x := r.Index()
			epoch := archive.Epoch{Created: noon + 2e6}
			forged := archive.Tip{Arrival: x.ArrivalFrom, Hash: x.Prev, Name: archive.Name{
				Chain: archive.Chain{Class: x.Class, Stream: x.Stream, Epoch: epoch}, Day: x.Day, First: x.First}}
			var entries []fence.Entry
			for _, r := range records {
				entries = append(entries, fence.Entry{Seq: r.Seq, Time: r.Time, Subject: r.Subject, Data: r.Payload})
			}
			entries[1].Data = []byte("{\"a\":2}\n")
			body, _ := write(t, forged, entries, "")
			must(t, os.WriteFile(f[1], body, 0o600))
		}},
		{"another day", true, 1, func(t *testing.T, f []string) {
			to := strings.Replace(f[1], "dt=2026-09-21", "dt=2026-09-20", 1)
			must(t, os.MkdirAll(filepath.Dir(to), 0o700))
			must(t, os.Rename(f[1], to))
		}},
		{"a stray file", true, -1, func(t *testing.T, f []string) {
			must(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), "zz"), nil, 0o600))
		}},
		{"a stray class", true, -1, func(t *testing.T, f []string) {
			must(t, os.WriteFile(filepath.Join(filepath.Dir(f[0]), "../../../../x"), nil, 0o600))
		}},
		{"a ghost", true, -1, func(t *testing.T, f []string) {
			must(t, os.WriteFile(strings.Replace(f[1], "006.jsonl", "007.jsonl", 1), read(t, f[0]), 0o600))
		}},
		{"end of a generation removed", true, -1, func(t *testing.T, f []string) { must(t, os.Remove(f[7])) }},
		{"whole generation removed", true, -1, func(t *testing.T, f []string) {
			must(t, os.RemoveAll(filepath.Dir(filepath.Dir(f[7]))))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, files := filled(t)
			test.do(t, files)
			for _, full := range []bool{false, true} {
				p := b.problems(t, archive.Options{Full: full})
				if full || test.fast {
					if len(p) == 0 {
						t.Fatalf("full %v: found nothing", full)
					}
				} else if len(p) > 0 {
					t.Errorf("full %v: %v; want nothing from keys and indexes", full, p)
				}
				if test.name == "a ghost" && len(p) != 1 {
					t.Errorf("full %v: %v; want nothing but the ghost", full, p)
				}
				if test.at >= 0 && len(p) > 0 && p[0].Key != b.key(files[test.at]) &&
					!strings.HasSuffix(p[0].Key, filepath.Base(files[test.at])) {
					t.Errorf("full %v: names %v; want %s first", full, p, b.key(files[test.at]))
				}
			}
		})
	}
}

// TestVerifyAgainstKept: the end of a chain can be cut off without a trace in the
// archive itself; who kept a head notices.
func TestVerifyAgainstKept(t *testing.T) {
	b, files := filled(t)
	r := b.verify(t)
	var kept []archive.Head
	for _, c := range r.Chains {
		kept = append(kept, c.Head)
	}
	if p := b.problems(t, archive.Options{Kept: kept}); len(p) > 0 {
		t.Errorf("untouched: %v", p)
	}
	must(t, os.Remove(files[3]))
	if p := b.problems(t, archive.Options{Full: true}); len(p) > 0 {
		t.Errorf("without a kept head the removal of the last object was found: %v", p)
	}
	if p := b.problems(t, archive.Options{Kept: kept}); len(p) != 1 || p[0].Seq != 20 {
		t.Errorf("the last object was removed: %v; want one problem at sequence 20", p)
	}
}

// TestVerifyEveryByte: any byte of any object that is altered or cut off is
// noticed, and the object named.
func TestVerifyEveryByte(t *testing.T) {
	b, files := filled(t)
	rng := rand.New(rand.NewPCG(1, 3))
	for range 600 {
		file := files[rng.IntN(len(files))]
		body, err := os.ReadFile(file)
		must(t, err)
		bad := bytes.Clone(body)
		i := rng.IntN(len(bad))
		if rng.IntN(4) == 0 {
			bad = bad[:i]
		} else {
			bad[i] ^= 1 << rng.IntN(8)
		}
		must(t, os.WriteFile(file, bad, 0o600))
		p := b.problems(t, archive.Options{Full: true})
		if len(p) == 0 || p[0].Key != b.key(file) {
			t.Fatalf("byte %d of %s: %v", i, b.key(file), p)
		}
		must(t, os.WriteFile(file, body, 0o600))
	}
	b.verify(t)
}

func TestCat(t *testing.T) {
	b := newBench(t)
	a := b.archiver(t, archive.Config{CutBytes: 2500})
	audit := b.archiver(t, archive.Config{Stream: "AUDIT"})
	rng := rand.New(rand.NewPCG(4, 5))
	for i := range 120 {
		b.numbered(fmt.Sprint(i))
		if i%10 == 0 {
			b.now += int64(5 * time.Hour)
			b.put("audit.api.l1", event)
		}
	}
	mustFlush(t, a)
	mustFlush(t, audit)
	all := b.cat(t, archive.Filter{})
	if len(all) != 132 {
		t.Fatalf("%d messages, want 132", len(all))
	}
	for range 300 {
		f := archive.Filter{Stream: []string{"", "AUDIT", "EVENTS_0", "EVENTS_1"}[rng.IntN(4)], Class: []string{"", "", "audit", "telemetry"}[rng.IntN(4)]}
		if rng.IntN(2) == 0 {
			f.From, f.To = rng.Uint64N(130), rng.Uint64N(130)
		}
		if rng.IntN(2) == 0 {
			span := b.now - noon
			f.Since, f.Until = noon+rng.Int64N(span), noon+rng.Int64N(span)
		}
		if rng.IntN(4) == 0 {
			f.To, f.Until = 0, 0
		}
		var want []archive.Record
		for _, r := range all {
			if (f.Stream == "" || r.Stream == f.Stream) && (f.Class == "" || r.Class == f.Class) &&
				r.Seq >= f.From && (f.To == 0 || r.Seq <= f.To) && r.Arrival >= f.Since && (f.Until == 0 || r.Arrival < f.Until) {
				want = append(want, r)
			}
		}
		if diff := diffRecords(want, b.cat(t, f)); diff != "" {
			t.Fatalf("%+v (-want +got):\n%s", f, diff)
		}
		// Every message that is chosen lies in an object that is listed.
		listed := map[string][]*archive.Index{}
		for l, err := range archive.List(t.Context(), b.store, f) {
			must(t, err)
			listed[l.Index.Stream] = append(listed[l.Index.Stream], l.Index)
		}
		for _, r := range want {
			if !slices.ContainsFunc(listed[r.Stream], func(x *archive.Index) bool { return x.First <= r.Seq && r.Seq <= x.Last }) {
				t.Fatalf("%+v: no listed object holds %s %d", f, r.Stream, r.Seq)
			}
		}
	}
}

func TestCatStopsAtDamage(t *testing.T) {
	b, files := filled(t)
	var last uint64
	cat := func() error {
		return archive.Cat(t.Context(), b.store, archive.Filter{Stream: "AUDIT"}, func(r *archive.Record) error {
			last = r.Seq
			return nil
		})
	}
	must(t, cat())
	body, err := os.ReadFile(files[1])
	must(t, err)
	must(t, os.Remove(files[1]))
	if err := cat(); err == nil || !strings.Contains(err.Error(), b.key(files[2])) {
		t.Errorf("an object is missing: %v; want %s named", err, b.key(files[2]))
	}
	if last != 5 {
		t.Errorf("went on to %d over a hole behind 5", last)
	}
	body[len(body)/2] ^= 1
	must(t, os.WriteFile(files[1], body, 0o600))
	if err := cat(); err == nil || !strings.Contains(err.Error(), b.key(files[1])) {
		t.Errorf("an object is damaged: %v; want %s named", err, b.key(files[1]))
	}
}
