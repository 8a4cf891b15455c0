package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// chains lists the chains in a store, ordered by class, stream, creation and
// generation. class and stream narrow it, "" for every one. It asks the store
// once per chain, however many objects there are.
func chains(ctx context.Context, store Store, class, stream string) (found []Chain, stray []string, err error) {
	prefix := "l0/"
	if class != "" {
		prefix += class + "/"
		if stream != "" {
			prefix += stream + "/"
		}
	}
	for after := ""; ; {
		first, ok, err := firstObject(ctx, store, prefix, after)
		if err != nil {
			return nil, nil, fmt.Errorf("list chains: %w", err)
		}
		if !ok {
			break
		}
		n, err := ParseKey(first.Key)
		if err != nil {
			stray = append(stray, first.Key)
			after = first.Key
			continue
		}
		if stream == "" || n.Stream == stream {
			found = append(found, n.Chain)
		}
		after = n.prefix() + "~" // behind every key of the chain
	}
	slices.SortFunc(found, Chain.compare)
	return slices.Compact(found), stray, nil
}

func firstObject(ctx context.Context, store Store, prefix, after string) (Object, bool, error) {
	for o, err := range store.List(ctx, prefix, after) {
		return o, err == nil, err
	}
	return Object{}, false, nil
}

// lastObject finds the last object of a chain. day is a guess: a day before which
// it most likely does not lie, so that years need not be listed.
func lastObject(ctx context.Context, store Store, c Chain, day string) (last Object, ok bool, err error) {
	for _, after := range []string{c.prefix() + "dt=" + day, ""} {
		for o, err := range store.List(ctx, c.prefix(), after) {
			if err != nil {
				return Object{}, false, fmt.Errorf("list %s: %w", c, err)
			}
			last, ok = o, true
		}
		if ok {
			break
		}
	}
	return last, ok, nil
}

// load reads a whole object and checks it.
func load(ctx context.Context, store Store, key string) (body []byte, x *Index, hash string, err error) {
	if body, err = ReadAll(ctx, store, key); err != nil {
		return nil, nil, "", err
	}
	o := NewReader(bytes.NewReader(body))
	for err == nil {
		_, err = o.Next()
	}
	if err != io.EOF {
		return nil, nil, "", fmt.Errorf("object %s: %w", key, err)
	}
	return body, o.Index(), o.Hash(), nil
}

// holds tells whether the store gives back exactly body under a key.
func holds(ctx context.Context, store Store, key string, body []byte) (bool, error) {
	r, err := store.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	part := make([]byte, 64<<10)
	for {
		n, err := r.Read(part)
		if !bytes.HasPrefix(body, part[:n]) {
			return false, nil
		}
		body = body[n:]
		if err == io.EOF {
			return len(body) == 0, nil
		}
		if err != nil {
			return false, fmt.Errorf("read %s: %w", key, err)
		}
	}
}

// compare reads two objects, or the beginnings of objects, side by side and says
// which message that both hold differs; 0 for none. What one of them lacks is
// recorded in its index.
func compare(a, b []byte) (seq uint64, err error) {
	ra := newPartialReader(bytes.NewReader(a), 0, new(codec))
	rb := newPartialReader(bytes.NewReader(b), 0, new(codec))
	x, errA := ra.Next()
	y, errB := rb.Next()
	for errA == nil && errB == nil {
		switch {
		case x.Seq < y.Seq:
			x, errA = ra.Next()
		case y.Seq < x.Seq:
			y, errB = rb.Next()
		case !x.equal(y):
			return x.Seq, nil
		default:
			x, errA = ra.Next()
			y, errB = rb.Next()
		}
	}
	for _, err := range []error{errA, errB} {
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return 0, nil
}
