package retain

import (
	"context"
	"fmt"
	"io"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/archive/segment"
)

// question is whether a hold keeps a segment. The answer never changes.
type question struct{ hold, segment string }

// active are the holds in force.
func active(ctx context.Context, store archive.Store) (out []archive.Hold, err error) {
	all, err := archive.Holds(ctx, store)
	for _, h := range all {
		if h.Released == nil {
			out = append(out, h)
		}
	}
	return out, err
}

// held is the id of a hold that keeps a segment, "" for none.
func (w *Worker) held(ctx context.Context, holds []archive.Hold, s archive.Segment) (string, error) {
	var ask []archive.Hold
	for _, h := range holds {
		keeps, known := w.known[question{h.ID, s.Key}]
		if keeps {
			return h.ID, nil
		}
		if !known {
			ask = append(ask, h)
		}
	}
	if len(ask) == 0 {
		return "", nil
	}
	found := ""
	err := segment.Subjects(&ranged{ctx, w.store, s.Key}, s.Bytes, func(e *segment.Subject) bool {
		for i := range ask {
			if ask[i].Matches(e.Service, e.User, e.Resource, e.Read()) {
				found = ask[i].ID
				return false
			}
		}
		return true
	})
	if err != nil {
		return "", fmt.Errorf("look for what is held in %s: %w", s.Key, err)
	}
	if found != "" {
		w.known[question{found, s.Key}] = true
		return found, nil
	}
	for _, h := range ask {
		w.known[question{h.ID, s.Key}] = false
	}
	return "", nil
}

// ranged reads an object by ranges.
type ranged struct {
	ctx   context.Context
	store archive.Store
	key   string
}

func (r *ranged) ReadAt(p []byte, off int64) (int, error) {
	body, err := r.store.Get(r.ctx, r.key, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.ReadFull(body, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}
