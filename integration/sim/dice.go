package main

import (
	"math/rand"
	"slices"
)

// dice makes every choice of a run. A choice that is hushed comes out as the last
// of its range, which is always the quietest: a chance is missed, an append meets
// no fault. So a run can be made smaller without knowing what its choices mean.
type dice struct {
	rng  *rand.Rand
	n    int // choices made
	hush []span
}

// span is a row of choices: from, up to and not including to.
type span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

func newDice(seed int64, hush []span) *dice {
	return &dice{rng: rand.New(rand.NewSource(seed)), hush: slices.Clone(hush)}
}

// Intn chooses from 0 to n-1.
func (d *dice) Intn(n int) int {
	choice := d.rng.Intn(n) // also for a hushed one, so that those after it stay
	for len(d.hush) > 0 && d.hush[0].To <= d.n {
		d.hush = d.hush[1:]
	}
	if len(d.hush) > 0 && d.hush[0].From <= d.n {
		choice = n - 1
	}
	d.n++
	return choice
}

// chance is true once in n times.
func (d *dice) chance(n int) bool { return d.Intn(n) == 0 }

// Float64 chooses from [0, 1).
func (d *dice) Float64() float64 {
	const steps = 1 << 20
	return float64(d.Intn(steps)) / steps
}

// Perm chooses an order of 0 to n-1.
func (d *dice) Perm(n int) []int {
	order := make([]int, n)
	for i := range order {
		j := i - d.Intn(i+1)
		order[i], order[j] = order[j], i
	}
	return order
}
