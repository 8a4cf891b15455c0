package pipeline_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/pipeline/pipelinetest"
	"github.com/dermai/millrace/schemas"
	"github.com/google/go-cmp/cmp"
)

func TestQuarantine(t *testing.T) {
	s, c := deployed(t)
	q := pipeline.NewQuarantine(c)
	item := func(i int) schemas.Quarantined {
		return schemas.Quarantined{
			ID: fmt.Sprintf("EVENTS_0/7/%d", i), Stage: "reduce", Reason: "decode", Detail: "duplicate name", Stream: "EVENTS_0",
			Seq: 7, Index: i, Data: []byte("{bad}"), Size: 5,
		}
	}
	large := item(9)
	large.Data, large.Size = bytes.Repeat([]byte("x"), schemas.QuarantineBytes+1), 0
	for range 2 { // again after a crash
		for _, i := range []schemas.Quarantined{item(0), item(1), large} {
			if err := q.Put(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := metric(t, s, "millrace_quarantined_total"); got != 3 {
		t.Errorf("%v are counted, want 3", got)
	}
	large.Data, large.Size = large.Data[:schemas.QuarantineBytes], schemas.QuarantineBytes+1
	var got []schemas.Quarantined
	for after := uint64(0); ; {
		page, err := q.List(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if e.Time == 0 {
				t.Error("no time")
			}
			got, after = append(got, e.Quarantined), e.Seq
		}
	}
	if diff := cmp.Diff([]schemas.Quarantined{item(0), item(1), large}, got); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	for _, bad := range []schemas.Quarantined{{ID: "a\nb", Stage: "reduce"}, {ID: "", Stage: "reduce"}, {ID: "a", Stage: ""}} {
		if err := q.Put(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestHeadroom(t *testing.T) {
	s, js := partials(t)
	c := s.Connect(t)
	if used, err := c.Headroom(t.Context(), "PARTIALS"); used != 0 || err != nil {
		t.Errorf("an empty stream uses %v, %v", used, err)
	}
	fill(t, js, 2, 512<<10)
	if used, err := c.Headroom(t.Context(), "PARTIALS"); used < 0.5 || used > 0.52 || err != nil {
		t.Errorf("a stream that is half full uses %v, %v", used, err)
	}
	if _, err := c.Headroom(t.Context(), "ALERTS"); err == nil || !strings.Contains(err.Error(), "millrace apply") {
		t.Errorf("a stream that is not there: %v", err)
	}
}

// Trimming by time leaves what is young, and the last message of each subject
// however old it is.
func TestTrimBefore(t *testing.T) {
	_, c := deployed(t)
	l := newLog(t, c)
	put := func(subject string) {
		t.Helper()
		head, err := l.Head(t.Context(), subject)
		if err != nil && !errors.Is(err, fence.ErrNoHead) {
			t.Fatal(err)
		}
		appendOne(t, l, subject, head.Seq)
	}
	put("notify.mail") // idle from here on, like slack's genesis
	for range 5 {
		put("notify.busy")
	}
	old, err := l.Head(t.Context(), "notify.busy")
	if err != nil {
		t.Fatal(err)
	}
	put("notify.busy")
	put("notify.busy")
	for range 2 {
		if err := pipeline.TrimBefore(t.Context(), c, "NOTIFY", time.Unix(0, old.Time+1)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"notify.slack", "notify.mail", "notify.busy", "notify.busy"}, subjects(t, c, "NOTIFY")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := pipeline.TrimBefore(t.Context(), c, "NOTIFY", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"notify.slack", "notify.mail", "notify.busy"}, subjects(t, c, "NOTIFY")); diff != "" {
		t.Errorf("everything trimmed (-want +got):\n%s", diff)
	}
	if err := pipeline.TrimBefore(t.Context(), c, "QUARANTINE", time.Now()); err != nil {
		t.Errorf("an empty stream: %v", err)
	}
}

func appendOne(t *testing.T, l fence.Log, subject string, prev uint64) {
	t.Helper()
	if _, err := l.Append(t.Context(), fence.Message{Subject: subject, Data: []byte("x")}, prev); err != nil {
		t.Fatal(err)
	}
}

func subjects(t *testing.T, c *pipeline.Conn, stream string) []string {
	t.Helper()
	entries, err := newLog(t, c).Read(t.Context(), stream, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Subject)
	}
	return out
}

// A member whose key the broker never lets expire is none. With seed 73992562 of
// integration/chaos, where the broker was killed and its disk was full, partitions
// stayed without a worker as if they belonged to such a one.
func TestGhostOfAMember(t *testing.T) {
	s, _ := deployed(t)
	if _, err := admin(t, s).Publish(t.Context(), "$KV."+pipeline.BucketMembers+".ghost", nil); err != nil {
		t.Fatal(err)
	}
	m, err := pipeline.Join(t.Context(), s.Connect(t), pipeline.MemberConfig{ID: "alive", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Leave(t.Context())
	pipelinetest.Within(t, "the ghost is not taken for a member", func() bool {
		return slices.Equal(m.Members(), []string{"alive"})
	})
}

// Roles are shared by all who are there, each has one owner, and a change of
// members moves only what it must.
func TestMembers(t *testing.T) {
	s, _ := deployed(t)
	var roles []string
	for i := range 50 {
		roles = append(roles, fmt.Sprintf("partials.%d", i))
	}
	join := func(id string) *pipeline.Member {
		t.Helper()
		m, err := pipeline.Join(t.Context(), s.Connect(t), pipeline.MemberConfig{ID: id, TTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Leave(t.Context()) })
		return m
	}
	see := func(want []string, members ...*pipeline.Member) {
		t.Helper()
		pipelinetest.Within(t, fmt.Sprintf("all see %q", want), func() bool {
			return !slices.ContainsFunc(members, func(m *pipeline.Member) bool { return !slices.Equal(m.Members(), want) })
		})
	}
	owners := func(members map[string]*pipeline.Member) map[string]string {
		t.Helper()
		out := map[string]string{}
		for _, role := range roles {
			for id, m := range members {
				if m.Assigned(role) {
					if out[role] != "" {
						t.Errorf("%s is assigned to %s and %s", role, out[role], id)
					}
					out[role] = id
				}
			}
			if out[role] == "" {
				t.Errorf("%s is nobody's", role)
			}
		}
		return out
	}
	a, b := join("a"), join("b")
	see([]string{"a", "b"}, a, b)
	two := owners(map[string]*pipeline.Member{"a": a, "b": b})
	for len(a.Changed()) > 0 {
		<-a.Changed()
	}

	third, err := pipeline.Connect(t.Context(), pipeline.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := pipeline.Join(t.Context(), third, pipeline.MemberConfig{ID: "c", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	see([]string{"a", "b", "c"}, a, b, m)
	select {
	case <-a.Changed():
	case <-time.After(10 * time.Second):
		t.Error("a was not told")
	}
	three := owners(map[string]*pipeline.Member{"a": a, "b": b, "c": m})
	moved := 0
	for _, role := range roles {
		if two[role] != three[role] {
			moved++
			if three[role] != "c" {
				t.Errorf("%s moved from %s to %s when c came", role, two[role], three[role])
			}
		}
	}
	if moved < 5 || moved > 30 {
		t.Errorf("c got %d of %d roles", moved, len(roles))
	}

	// It dies without a word, and then another leaves politely.
	third.Close()
	see([]string{"a", "b"}, a, b)
	if diff := cmp.Diff(two, owners(map[string]*pipeline.Member{"a": a, "b": b})); diff != "" {
		t.Errorf("after c died (-before +after):\n%s", diff)
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	see([]string{"a"}, a)
	if b.Assigned(roles[0]) || !a.Assigned(roles[0]) {
		t.Error("who has left still has a role")
	}
}

func TestJoinRefuses(t *testing.T) {
	s := pipelinetest.Start(t)
	c := s.Connect(t)
	for want, config := range map[string]pipeline.MemberConfig{
		"a name has":      {ID: "a.b"},
		"whole seconds":   {ID: "a", TTL: 1500 * time.Millisecond},
		"millrace apply":  {ID: "a"},
		`join as "": a n`: {},
	} {
		if _, err := pipeline.Join(t.Context(), c, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("join %+v: %v, want %q", config, err, want)
		}
	}
}
