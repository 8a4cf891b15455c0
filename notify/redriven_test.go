package notify_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// TestSendRedriven sends what was taken out of quarantine for this receiver, and
// quarantines it as another item when it is rejected again.
func TestSendRedriven(t *testing.T) {
	w := newWorld(t, 1)
	var told []string
	r := receiver(func(_ context.Context, n schemas.Notification) (string, error) {
		told = append(told, n.ID)
		return "", answer{permanent: n.ID == "bad"}
	})
	q := &quarantine{}
	s := w.send(w.log, r, q, nil, nil)
	for subject, id := range map[string]string{"redrive.team.aa": "bad", "redrive.other.bb": "others"} {
		data, err := schemas.Encode(schemas.Notification{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		w.log.Put(fence.Message{Subject: subject, Data: data, Header: fence.Header{
			schemas.HeaderType: schemas.TypeNotification, schemas.HeaderRedriven: "2",
		}})
	}
	for range 100 {
		if _, err := s.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"bad"}, slices.Compact(told)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if item, ok := q.kept["bad/r2"]; !ok || item.Redriven != 2 {
		t.Errorf("quarantined %+v, want bad/r2 that came back twice", q.kept)
	}
}
