package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
)

// digest is that of every message and object that a run stored.
func (w *world) digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(w.broker.streams)) {
		for _, e := range w.broker.streams[name].entries {
			fmt.Fprintf(h, "%s %d %d %s", name, e.Seq, e.Time, e.Subject)
			for _, key := range slices.Sorted(maps.Keys(e.Header)) {
				fmt.Fprintf(h, " %q %q", key, e.Header[key])
			}
			fmt.Fprintf(h, " %q\n", e.Data)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.store.objects)) {
		fmt.Fprintf(h, "%s %q\n", key, w.store.objects[key])
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}
