//go:build chaos

package main

import "github.com/dermai/millrace/internal/chaos"

// without takes a rule of the algorithm away: it plants the bug of that name.
func without(rule string) error {
	chaos.Plant(rule)
	return nil
}
