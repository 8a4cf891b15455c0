package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
)

// Hold is a legal hold: retention keeps every segment with an event of which each
// field that is set here has this value. It is kept in the store, put where none
// is, and never removed; a release ends it.
type Hold struct {
	Format   int    `json:"format"` // 1
	ID       string `json:"id"`
	Service  string `json:"service,omitempty"`
	User     string `json:"user,omitempty"`
	Resource string `json:"resource,omitempty"`
	Author   string `json:"author"`
	Comment  string `json:"comment"`
	Created  int64  `json:"created"` // Unix ns
	// Released says that it ended; it stands in an object of its own.
	Released *Release `json:"released,omitempty"`
}

// Release ends a hold.
type Release struct {
	Format  int    `json:"format"` // 1
	Author  string `json:"author"`
	Comment string `json:"comment"`
	At      int64  `json:"at"` // Unix ns
}

const (
	holdPrefix    = "hold/"
	releasePrefix = "release/"
)

func (h *Hold) key() string { return holdPrefix + h.ID + ".json" }

// Validate joins all that is wrong with a hold.
func (h *Hold) Validate() error {
	var errs error
	if strings.Contains(h.ID, "/") || CheckKey(h.key()) != nil || h.ID == "" {
		errs = errors.Join(errs, fmt.Errorf("its id %q is no name of A-Z a-z 0-9 _ - . =", h.ID))
	}
	if h.Service == "" && h.User == "" && h.Resource == "" {
		errs = errors.Join(errs, errors.New("it holds nothing: name a service, a user or a resource"))
	}
	if strings.TrimSpace(h.Author) == "" || strings.TrimSpace(h.Comment) == "" {
		errs = errors.Join(errs, errors.New("it says not who holds, or not why: give author and comment"))
	}
	return errs
}

// String is what it holds.
func (h *Hold) String() string {
	var out []string
	for _, f := range [][2]string{{"service", h.Service}, {"user", h.User}, {"resource", h.Resource}} {
		if f[1] != "" {
			out = append(out, f[0]+"="+f[1])
		}
	}
	return strings.Join(out, " ")
}

// Matches tells whether an event with these fields is held. read tells that the
// event could be read; of one that could not only the service is known, so that
// every hold of its service holds it.
func (h *Hold) Matches(service, user, resource string, read bool) bool {
	return (h.Service == "" || h.Service == service) &&
		(!read || h.User == "" || h.User == user) && (!read || h.Resource == "" || h.Resource == resource)
}

// AddHold stores a hold. ErrExists: there is one of this id.
func AddHold(ctx context.Context, store Store, h Hold) error {
	if err := h.Validate(); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	h.Format, h.Released = 1, nil
	return putJSON(ctx, store, h.key(), &h)
}

// ReleaseHold ends a hold. ErrExists: it had ended before.
func ReleaseHold(ctx context.Context, store Store, id string, r Release) error {
	r.Format = 1
	return putJSON(ctx, store, releasePrefix+id+".json", &r)
}

// Holds lists all holds that ever were.
func Holds(ctx context.Context, store Store) ([]Hold, error) {
	var out []Hold
	for o, err := range store.List(ctx, holdPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list holds: %w", err)
		}
		var h Hold
		if err := readJSON(ctx, store, o.Key, &h); err != nil {
			return nil, err
		}
		if h.Format != 1 || h.key() != o.Key {
			return nil, &ManifestError{o.Key, fmt.Sprintf("it is format %d, hold %q", h.Format, h.ID)}
		}
		var r Release
		switch err := readJSON(ctx, store, releasePrefix+h.ID+".json", &r); {
		case err == nil && r.Format == 1:
			h.Released = &r
		case err == nil:
			return nil, &ManifestError{releasePrefix + h.ID + ".json", fmt.Sprintf("its format is %d; this build reads 1", r.Format)}
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// putJSON stores a value where none is.
func putJSON(ctx context.Context, store Store, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return store.Put(ctx, key, bytes.NewReader(b), int64(len(b)))
}

// readJSON reads a value that putJSON stored.
func readJSON(ctx context.Context, store Store, key string, v any) error {
	b, err := ReadAll(ctx, store, key)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return &ManifestError{key, err.Error()}
	}
	return nil
}
