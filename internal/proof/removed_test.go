package proof_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/schemas"
)

// three is an archive of EVENTS_0 in three objects of six frames, the odd
// sequences of lane web.a and the even ones of shop.b. files are the objects.
func three(t *testing.T) (b *bench, files []string) {
	b = newBench(t)
	for range 3 {
		for range 3 {
			b.send("web", "a", 1)
			b.send("shop", "b", 1)
		}
		b.archive(t)
	}
	files = b.objects(t, "l0/telemetry/")
	if len(files) != 3 {
		t.Fatalf("%d objects, want 3", len(files))
	}
	return b, files
}

// rewrite writes an object anew as a forger would who keeps its index and
// checksums right: without some sequences, or with other payloads.
func rewrite(t *testing.T, file string, change func(e *fence.Entry) (kept bool)) {
	body, err := os.ReadFile(file)
	must(t, err)
	name, err := archive.ParseKey(strings.SplitAfterN(filepath.ToSlash(file), "/l0/", 2)[0])
	if err != nil {
		name, err = archive.ParseKey("l0/" + strings.SplitN(filepath.ToSlash(file), "/l0/", 2)[1])
	}
	must(t, err)
	var entries []fence.Entry
	r := archive.NewReader(strings.NewReader(string(body)))
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		entries = append(entries, fence.Entry{Seq: rec.Seq, Time: rec.Time, Subject: rec.Subject, Header: rec.Header, Data: slices.Clone(rec.Payload)})
	}
	var out strings.Builder
	w := archive.NewWriter(&out, archive.TipBefore(name, r.Index()))
	for _, e := range entries {
		if !change(&e) {
			continue
		}
		if e.Seq > w.Next() {
			must(t, w.Miss(e.Seq-1, archive.MissingDeleted))
		}
		must(t, w.Write(&e))
	}
	if w.Next() <= r.Index().Last {
		must(t, w.Miss(r.Index().Last, archive.MissingDeleted))
	}
	_, err = w.Close(r.Index().NextDay)
	must(t, err)
	damage(t, file, func([]byte) []byte { return []byte(out.String()) })
}

// TestDamage: whatever is done to the archive, its place is named, and the lanes
// say which frames are gone.
func TestDamage(t *testing.T) {
	a, s := "events.0.log.web.a", "events.0.log.shop.b"
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, b *bench, files []string)
		frames []string // that are named
		also   []string // what the other findings begin with; KEY1 is the first object's key
	}{
		{"nothing", func(*testing.T, *bench, []string) {}, nil, nil},
		{"an object is removed", func(t *testing.T, _ *bench, files []string) { must(t, os.Remove(files[1])) },
			[]string{s + "#4", s + "#5", s + "#6", a + "#4", a + "#5", a + "#6"},
			[]string{"archive: KEY3: sequence 7: the sequences 7 to 12 before it are in no object"}},
		{"three messages are removed, and the chain forged", func(t *testing.T, _ *bench, files []string) {
			rewrite(t, files[2], func(e *fence.Entry) bool { return e.Seq < 14 || e.Seq > 16 })
		}, []string{s + "#7", s + "#8", a + "#8"},
			[]string{"lost: EVENTS_0: sequences 14 to 16 are missing: deleted before archived"}},
		{"an event is removed from a frame, and the chain forged", func(t *testing.T, _ *bench, files []string) {
			rewrite(t, files[2], func(e *fence.Entry) bool {
				if e.Seq == 15 {
					e.Data = []byte(event("web", 1))
				}
				return true
			})
		}, []string{a + "#8"}, nil},
		{"a byte is changed", func(t *testing.T, _ *bench, files []string) {
			damage(t, files[1], func(body []byte) []byte { body[len(body)/3] ^= 1; return body })
		}, []string{s + "#5", s + "#6", a + "#5", a + "#6"}, []string{"archive: KEY2: sequence 9: corrupt at byte "}},
		{"two objects are swapped", func(t *testing.T, _ *bench, files []string) {
			must(t, os.Rename(files[1], files[1]+"x"))
			must(t, os.Rename(files[2], files[1]))
			must(t, os.Rename(files[1]+"x", files[2]))
		}, nil, []string{"archive: KEY2: sequence 7: its index", "archive: KEY3: sequence 13: a ghost"}},
		{"an object is there twice", func(t *testing.T, _ *bench, files []string) {
			body, err := os.ReadFile(files[1])
			must(t, err)
			must(t, os.WriteFile(strings.Replace(files[1], "0007.", "0008.", 1), body, 0o600))
		}, nil, []string{"archive: KEY2+1: sequence 8: a ghost"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, files := three(t)
			c.do(t, b, files)
			r := b.run(t, alone)
			if diff := cmp.Diff(c.frames, missing(r)); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
			var others []string
			for _, f := range said(r) {
				if !strings.HasPrefix(f, proof.Frames) {
					for i, file := range files {
						f = strings.Replace(f, b.key(file), fmt.Sprintf("KEY%d", i+1), 1)
					}
					f = strings.Replace(f, strings.Replace(b.key(files[1]), "0007.", "0008.", 1), "KEY2+1", 1)
					others = append(others, f)
				}
			}
			ok := len(others) == len(c.also)
			for i := range min(len(others), len(c.also)) {
				ok = ok && strings.HasPrefix(others[i], c.also[i])
			}
			if !ok {
				t.Errorf("others:\n got %q\nwant %q", others, c.also)
			}
		})
	}
}

// TestBroker: what the stream lost is named, and what the archive lacks although
// the stream has it.
func TestBroker(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, b *bench, files []string)
		want []string
	}{
		{"it lost a middle that is archived", func(t *testing.T, b *bench, _ []string) {
			must(t, b.log.Trim(t.Context(), "EVENTS_0", lane("web", "a"), 6))
			must(t, b.log.Trim(t.Context(), "EVENTS_0", "", 2))
		}, []string{
			"stream: EVENTS_0: sequence 3 is gone from the stream; the archive has it",
			"stream: EVENTS_0: sequence 5 is gone from the stream; the archive has it",
		}},
		{"it lost a middle that is not", func(t *testing.T, b *bench, _ []string) {
			b.send("web", "c", 2)
			must(t, b.log.Trim(t.Context(), "EVENTS_0", lane("web", "c"), 21))
			b.send("web", "c", 1)
		}, []string{
			"frames: events.0.log.web.c: frames 1 to 2 are missing, before sequence 21 of EVENTS_0; acknowledged up to 2",
			"lost: EVENTS_0: sequences 19 to 20 are neither in the archive nor in the stream",
		}},
		{"it was trimmed of what is not archived", func(t *testing.T, b *bench, _ []string) {
			b.send("web", "a", 3)
			must(t, b.log.Trim(t.Context(), "EVENTS_0", "", 21))
		}, []string{
			"frames: events.0.log.web.a: frames 10 to 11 are missing, between sequence 17 and sequence 21 of EVENTS_0; acknowledged up to 11",
			"lost: EVENTS_0: sequences 19 to 20 are neither in the archive nor in the stream",
		}},
		{"it lost its tail", func(t *testing.T, b *bench, _ []string) { b.log.Rewind("EVENTS_0", 15) }, []string{
			"stream: EVENTS_0: sequences 16 to 18 are gone from the stream, which ends before: it lost its tail; the archive has it",
		}},
		{"it was made anew", func(t *testing.T, b *bench, _ []string) {
			b.log.Recreate("EVENTS_0")
			b.send("web", "b", 4)
			must(t, b.log.Trim(t.Context(), "EVENTS_0", "", 2))
		}, []string{
			"frames: events.0.log.web.b: frame 1 is missing, before sequence 2 of EVENTS_0; acknowledged up to 1",
			"lost: EVENTS_0: sequence 1 is neither in the archive nor in the stream",
			"stream: EVENTS_0: it was made anew at 2026-09-21T14:13:41Z; what the stream before it held and nobody had archived is gone",
		}},
		{"the archive lacks an object that the stream still has", func(t *testing.T, _ *bench, files []string) {
			must(t, os.Remove(files[1]))
		}, []string{
			"archive: EVENTS_0: sequences 7 to 12 are in the stream and not in the archive, which goes on behind",
			"archive: KEY3: sequence 7: the sequences 7 to 12 before it are in no object",
		}},
		{"the archive lacks its last object, and nobody kept its head", func(t *testing.T, _ *bench, files []string) {
			must(t, os.Remove(files[2]))
		}, nil}, // it will be archived again
	} {
		t.Run(c.name, func(t *testing.T) {
			b, files := three(t)
			c.do(t, b, files)
			got := said(b.run(t, nil))
			for i := range got {
				got[i] = strings.Replace(got[i], b.key(files[2]), "KEY3", 1)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestQuarantine: an event that no reader can read must be in quarantine, as soon
// as its reducer has it behind it, and what is there must be stored.
func TestQuarantine(t *testing.T) {
	b := newBench(t)
	seq := b.frame(lane("web", "a"), "{oops\n"+event("web", 1))
	at := b.now
	b.archive(t)
	b.send("web", "a", 1)
	const bad = `event 0 of sequence 1 cannot be read`
	if r := b.run(t, nil); !r.OK() {
		t.Errorf("before it is reduced: %q", said(r))
	}
	b.cover[0] = seq
	if got := said(b.run(t, nil)); len(got) != 1 || !strings.Contains(got[0], bad) {
		t.Errorf("reduced, and not in quarantine: %q", got)
	}
	b.items = []schemas.Quarantined{{Stage: schemas.StageReduce, Stream: "EVENTS_0", Seq: seq, Index: 0, Arrival: at}}
	r := b.run(t, nil)
	if !r.OK() || r.Streams[3].Quarantined != 1 || r.Streams[3].Events != 4 {
		t.Errorf("in quarantine: %q, %+v", said(r), r.Streams[3])
	}
	b.items = append(b.items, schemas.Quarantined{Stage: schemas.StageReduce, Stream: "EVENTS_0", Seq: seq, Index: 1, Arrival: at - 1})
	b.now += int64(time.Hour)
	want := []string{"quarantine: EVENTS_0: event 1 of sequence 1 is in quarantine, and its message neither in the archive nor in the stream"}
	if diff := cmp.Diff(want, said(b.run(t, nil))); diff != "" {
		t.Errorf("in quarantine alone (-want +got):\n%s", diff)
	}
}
