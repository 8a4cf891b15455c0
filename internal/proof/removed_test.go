package proof_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive/archivetest"
	"github.com/dermai/millrace/internal/proof/prooftest"
	"github.com/dermai/millrace/schemas"
)

// TestBroker: what the stream lost is named, and what the archive lacks although
// the stream has it.
func TestBroker(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, b *prooftest.Bench, keys []string)
		want []string
	}{
		{"it lost a middle that is archived", func(t *testing.T, b *prooftest.Bench, _ []string) {
			must(t, b.Log.Trim(t.Context(), "EVENTS_0", lane("web", "a"), 6))
			must(t, b.Log.Trim(t.Context(), "EVENTS_0", "", 2))
		}, []string{
			"stream: EVENTS_0: sequence 3 is gone from the stream; the archive has it",
			"stream: EVENTS_0: sequence 5 is gone from the stream; the archive has it",
		}},
		{"it lost a middle that is not", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Send("web", "c", 2)
			must(t, b.Log.Trim(t.Context(), "EVENTS_0", lane("web", "c"), 21))
			b.Send("web", "c", 1)
		}, []string{
			"frames: events.0.log.web.c: frames 1 to 2 are missing, before sequence 21 of EVENTS_0; acknowledged up to 2",
			"lost: EVENTS_0: sequences 19 to 20 are neither in the archive nor in the stream",
		}},
		{"it was trimmed of what is not archived", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Send("web", "a", 3)
			must(t, b.Log.Trim(t.Context(), "EVENTS_0", "", 21))
		}, []string{
			"frames: events.0.log.web.a: frames 10 to 11 are missing, between sequence 17 and sequence 21 of EVENTS_0; acknowledged up to 11",
			"lost: EVENTS_0: sequences 19 to 20 are neither in the archive nor in the stream",
		}},
		{"it lost its tail", func(t *testing.T, b *prooftest.Bench, _ []string) { b.Log.Rewind("EVENTS_0", 15) }, []string{
			"stream: EVENTS_0: sequences 16 to 18 are gone from the stream, which ends before: it lost its tail; the archive has it",
		}},
		{"it lost a tail that nobody had read", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Send("web", "c", 3)
			b.Log.Rewind("EVENTS_0", 19)
			b.Replace("web", "c", "d")
		}, []string{
			"frames: events.0.log.web.c: frames 2 to 3 are gone, though acknowledged: lost by the stream, as events.0.log.web.d says, which goes on in its place (sequence 20 of EVENTS_0)",
		}},
		{"it lost a whole lane that nobody had read", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Send("web", "c", 1)
			b.Log.Rewind("EVENTS_0", 18)
			b.Replace("web", "c", "d")
		}, []string{
			"frames: events.0.log.web.c: frame 1 is gone, though acknowledged: lost by the stream, as events.0.log.web.d says, which goes on in its place (sequence 19 of EVENTS_0)",
		}},
		{"it lost a tail that one archiver had read, while another went on", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.LoseTail(t, "EVENTS_0", func() { b.Send("web", "c", 2) }, func() { b.Send("web", "d", 1) })
			b.Send("web", "d", 1)
		}, []string{
			"stream: EVENTS_0: it lost its tail and gave sequences again: an archiver had read up to sequence 20 of it, which is in dll21k9wy9s0-lost1, behind 2026-09-21T14:13:40Z; what it had accepted and nobody had archived is gone",
		}},
		{"it lost nothing of lanes that were left, one of which had ended", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Replace("web", "a", "d")
			b.Send("web", "c", 1)
			b.End("web", "c")
			b.Replace("web", "c", "e")
		}, nil},
		{"it was made anew", func(t *testing.T, b *prooftest.Bench, _ []string) {
			b.Log.Recreate("EVENTS_0")
			b.Send("web", "b", 4)
			must(t, b.Log.Trim(t.Context(), "EVENTS_0", "", 2))
		}, []string{
			"frames: events.0.log.web.b: frame 1 is missing, before sequence 2 of EVENTS_0; acknowledged up to 1",
			"lost: EVENTS_0: sequence 1 is neither in the archive nor in the stream",
			"stream: EVENTS_0: it was made anew at 2026-09-21T14:13:41Z; what the stream before it held and nobody had archived is gone",
		}},
		{"the archive lacks an object that the stream still has", func(t *testing.T, b *prooftest.Bench, keys []string) {
			b.Remove(t, keys[1])
		}, []string{
			"archive: EVENTS_0: sequences 7 to 12 are in the stream and not in the archive, which goes on behind",
			"archive: KEY3: sequence 7: the sequences 7 to 12 before it are in no object",
		}},
		{"the archive lacks its last object, and nobody kept its head", func(t *testing.T, b *prooftest.Bench, keys []string) {
			b.Remove(t, keys[2])
		}, nil}, // it will be archived again
	} {
		t.Run(c.name, func(t *testing.T) {
			b, keys := prooftest.Three(t, archivetest.NewBench(t))
			c.do(t, b, keys)
			got := said(b.Run(t, nil))
			for i := range got {
				got[i] = strings.Replace(got[i], keys[2], "KEY3", 1)
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
	b := prooftest.New(archivetest.NewBench(t))
	seq := b.Frame(lane("web", "a"), "{oops\n"+event("web", 1))
	at := b.Now
	b.ArchiveAll(t)
	b.Send("web", "a", 1)
	const bad = `event 0 of sequence 1 cannot be read`
	if r := b.Run(t, nil); !r.OK() {
		t.Errorf("before it is reduced: %q", said(r))
	}
	b.Cover[0] = seq
	if got := said(b.Run(t, nil)); len(got) != 1 || !strings.Contains(got[0], bad) {
		t.Errorf("reduced, and not in quarantine: %q", got)
	}
	b.Items = []schemas.Quarantined{{Stage: schemas.StageReduce, Stream: "EVENTS_0", Seq: seq, Index: 0, Arrival: at}}
	r := b.Run(t, nil)
	if !r.OK() || r.Streams[3].Quarantined != 1 || r.Streams[3].Events != 4 {
		t.Errorf("in quarantine: %q, %+v", said(r), r.Streams[3])
	}
	b.Items = append(b.Items, schemas.Quarantined{Stage: schemas.StageReduce, Stream: "EVENTS_0", Seq: seq, Index: 1, Arrival: at - 1})
	b.Now += int64(time.Hour)
	want := []string{"quarantine: EVENTS_0: event 1 of sequence 1 is in quarantine, and its message neither in the archive nor in the stream"}
	if diff := cmp.Diff(want, said(b.Run(t, nil))); diff != "" {
		t.Errorf("in quarantine alone (-want +got):\n%s", diff)
	}
}
