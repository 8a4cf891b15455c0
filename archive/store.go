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

// Store keeps immutable objects under keys. Its methods may be used at once by
// any number of goroutines and processes; none retries by itself.
// archivetest.Conformance is the contract as code.
//
// A key is one or more names joined by "/", each of 1 to 255 of the bytes
// A-Z a-z 0-9 _ - . = and not beginning with a dot; at most 1,024 bytes in all.
// Any other key is refused. No key may be a directory of another.
type Store interface {
	// Put stores exactly size bytes of body under key, if there is no object. nil
	// means that the object is durable and visible whole; ErrExists that another
	// object is there, and that it is durable. After any other error the object may
	// be there or not, never in part; putting the same bytes again settles it.
	Put(ctx context.Context, key string, body io.Reader, size int64) error
	// Get opens n bytes of an object from offset off on (n < 0: to its end), fewer
	// if it is shorter. ErrNotFound: there is no such object. The caller closes it.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// List gives the objects whose keys begin with prefix and are greater than
	// after, in ascending byte order of their keys, and ends after an error.
	// Objects put meanwhile may be missed.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
}

// Remover is a Store that can forget. It removes what Removable allows and refuses
// everything else; removing what is not there is no error. Whoever reads the
// object meanwhile reads it to its end or gets an error. Nobody removes but
// through a View.
type Remover interface {
	Remove(ctx context.Context, key string) error
}

// Removable tells whether a key is of those that are ever removed: objects and
// segments of telemetry and of the audit trail. What the archive knows of them,
// and everything that is kept for ever, is not.
func Removable(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	n, err := ParseKey(key)
	if err != nil {
		n.Chain, err = parseSegmentKey(key)
	}
	if err != nil || n.Class != string(schemas.Telemetry) && n.Class != ClassAudit {
		return fmt.Errorf("%s is nothing that may be removed", key)
	}
	return nil
}

// Object is an entry of a listing.
type Object struct {
	Key  string `json:"key"`
	Size int64  `json:"size"` // bytes
}

// The outcomes that callers of a Store tell apart.
var (
	ErrExists   = errors.New("object exists")
	ErrNotFound = errors.New("no such object")
)

// KeyBytes are the bytes of which keys are made.
const KeyBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.=/"

// CheckKey refuses what is not a key. It is what keeps a key from leaving the
// store, in every driver.
func CheckKey(key string) error {
	if len(key) > 1024 {
		return fmt.Errorf("key of %d bytes: at most 1024", len(key))
	}
	for name := range strings.SplitSeq(key, "/") {
		if !validName(name) {
			return fmt.Errorf("key %q: the name %q is not 1 to 255 of A-Z a-z 0-9 _ - . = beginning with no dot", key, name)
		}
	}
	return nil
}

func validName(name string) bool {
	if name == "" || len(name) > 255 || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '-', c == '.', c == '=':
		default:
			return false
		}
	}
	return true
}

// ReadAll reads a whole object.
func ReadAll(ctx context.Context, store Store, key string) ([]byte, error) {
	r, err := store.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}
