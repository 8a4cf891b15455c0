package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/dermai/millrace/schemas"
)

// View is a store as whoever removes things sees it: one class, and the legal
// holds. It can name nothing else, whatever it is asked for. It stores commits
// only, and removes objects and segments of its class. The zero View has nothing.
type View struct {
	store Store
	class string
}

// NewView restricts a store to a class.
func NewView(store Store, class schemas.Class) View { return View{store, string(class)} }

// Class is the class that can be seen.
func (v View) Class() string { return v.class }

// allowed refuses every key, or prefix of keys, that is not below one of these
// roots of the class.
func (v View) allowed(key string, roots ...string) error {
	part := strings.SplitN(key, "/", 3)
	for _, root := range roots {
		if v.class != "" && len(part) == 3 && part[0] == root && part[1] == v.class {
			return nil
		}
	}
	return fmt.Errorf("%s is out of sight of what keeps %s", key, v.class)
}

func (v View) readable(key string) error {
	if v.class != "" && (strings.HasPrefix(key, holdPrefix) || strings.HasPrefix(key, releasePrefix)) {
		return nil
	}
	return v.allowed(key, "l0", "l1", "manifest", "checkpoint")
}

// Put implements Store.
func (v View) Put(ctx context.Context, key string, body io.Reader, size int64) error {
	if err := v.allowed(key, "manifest", "checkpoint"); err != nil {
		return err
	}
	return v.store.Put(ctx, key, body, size)
}

// Get implements Store.
func (v View) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := v.readable(key); err != nil {
		return nil, err
	}
	return v.store.Get(ctx, key, off, n)
}

// List implements Store.
func (v View) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	if err := v.readable(prefix); err != nil {
		return func(yield func(Object, error) bool) { yield(Object{}, err) }
	}
	return v.store.List(ctx, prefix, after)
}

// Remove implements Remover.
func (v View) Remove(ctx context.Context, key string) error {
	if err := v.allowed(key, "l0", "l1"); err != nil {
		return err
	}
	remover, ok := v.store.(Remover)
	if !ok {
		return errors.New("the store cannot remove anything")
	}
	return remover.Remove(ctx, key)
}
