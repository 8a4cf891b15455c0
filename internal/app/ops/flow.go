package ops

import (
	"fmt"
	"sync"
	"time"
)

// Flow watches one part of a program that does its work in steps. It is not
// ready before the first step is done, while a step takes longer than the
// limit, and while it is blocked. It is safe for concurrent use.
type Flow struct {
	limit time.Duration

	mu       sync.Mutex
	began    time.Time // of the step under way; zero: none is
	progress time.Time
	blocked  string
}

// NewFlow watches steps that should take less than limit, with the work that
// waited for them.
func NewFlow(limit time.Duration) *Flow { return &Flow{limit: limit} }

// Begin says that there is work to do. Further calls before Done change
// nothing.
func (f *Flow) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.began.IsZero() {
		f.began = time.Now()
	}
}

// Done says that the work is done, or that there is none.
func (f *Flow) Done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began, f.progress, f.blocked = time.Time{}, time.Now(), ""
}

// Block says why the work cannot go on at present. Done takes it back.
func (f *Flow) Block(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blocked = reason
}

// State is the check to register.
func (f *Flow) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := State{Progress: f.progress, Reason: f.blocked}
	switch waits := time.Since(f.began); {
	case s.Reason != "":
	case !f.began.IsZero() && waits > f.limit:
		s.Reason = fmt.Sprintf("no progress for %v, the limit is %v", waits.Round(time.Millisecond), f.limit)
	case f.progress.IsZero():
		s.Reason = "starting"
	}
	return s
}
