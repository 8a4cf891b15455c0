package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/dermai/millrace/archive"
)

// store is a model of an object store: puts fail, lose their answers, or arrive
// when nobody waits for them any more. Between any two calls of a machine others may
// act.
type store struct {
	w       *world
	objects map[string][]byte
	keys    []string // of the objects, in order
	late    []latePut
	removed map[string]bool
}

type latePut struct {
	at   int64
	key  string
	body []byte
}

var (
	errStore = errors.New("503: slow down")
	errCrash = errors.New("the process died")
)

func (s *store) put(key string, body []byte) error {
	if _, ok := s.objects[key]; ok {
		return archive.ErrExists
	}
	if s.objects[key] = body; s.removed[key] {
		s.w.stats.Ghosts++
		s.w.broker.note("%s is there again", key)
	}
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Insert(s.keys, i, key)
	return nil
}

// deliver stores the late puts whose time has come.
func (s *store) deliver() {
	s.late = slices.DeleteFunc(s.late, func(l latePut) bool {
		if !s.w.broker.calm && l.at > s.w.broker.now {
			return false
		}
		_ = s.put(l.key, l.body)
		return true
	})
}

// Put implements archive.Store.
func (s *store) Put(_ context.Context, key string, r io.Reader, _ int64) error {
	body, err := io.ReadAll(r)
	must(err)
	s.w.meanwhile()
	fault := s.w.dice.Intn(12)
	if s.w.broker.calm {
		return s.put(key, body)
	}
	switch fault {
	case 0:
		return errStore
	case 1:
		return errCrash
	case 2:
		_ = s.put(key, body)
		return errStore
	case 3:
		_ = s.put(key, body)
		return errCrash
	case 4:
		s.late = append(s.late, latePut{s.w.broker.now + int64(1+s.w.dice.Intn(60))*unit, key, body})
		return errStore
	}
	return s.put(key, body)
}

// Get implements archive.Store.
func (s *store) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.w.meanwhile()
	if s.objects[key] != nil && !s.w.broker.calm && s.w.dice.chance(20) {
		return nil, errStore
	}
	return s.get(key, off, n)
}

func (s *store) get(key string, off, n int64) (io.ReadCloser, error) {
	body, ok := s.objects[key]
	if !ok {
		return nil, archive.ErrNotFound
	}
	body = body[min(off, int64(len(body))):]
	if n >= 0 {
		body = body[:min(n, int64(len(body)))]
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// List implements archive.Store.
func (s *store) List(_ context.Context, prefix, after string) iter.Seq2[archive.Object, error] {
	return func(yield func(archive.Object, error) bool) {
		s.w.meanwhile()
		i, found := slices.BinarySearch(s.keys, max(prefix, after))
		if found && s.keys[i] == after {
			i++
		}
		var page []archive.Object // others may be put, and these removed, while they are looked at
		for ; i < len(s.keys) && strings.HasPrefix(s.keys[i], prefix); i++ {
			page = append(page, archive.Object{Key: s.keys[i], Size: int64(len(s.objects[s.keys[i]]))})
		}
		for _, o := range page {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Remove implements archive.Remover.
func (s *store) Remove(_ context.Context, key string) error {
	must(archive.Removable(key))
	s.w.meanwhile()
	fault := s.w.dice.Intn(16)
	if !s.w.broker.calm && fault == 0 {
		return errStore
	}
	if i, ok := slices.BinarySearch(s.keys, key); ok {
		s.keys = slices.Delete(s.keys, i, i+1)
		delete(s.objects, key)
		s.removed[key] = true
		s.w.stats.Removed++
	}
	if !s.w.broker.calm && fault == 1 {
		return errStore
	}
	return nil
}

// patient is the store as somebody sees it who asks again where it fails.
type patient struct{ *store }

// Get implements archive.Store.
func (s patient) Get(_ context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.w.meanwhile()
	return s.get(key, off, n)
}
