//go:build chaos

package chaos

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// place is where the process dies: the step, on what, and how often it passes by
// before.
type place struct {
	step, on string
	left     atomic.Int64
}

var (
	death = parse(os.Getenv("MILLRACE_CHAOS_DIE"))
	bug   atomic.Pointer[string]
)

func init() { Plant(os.Getenv("MILLRACE_CHAOS_BUG")) }

// parse reads "<verb> <on> before|after <n>"; nil: nowhere.
func parse(s string) *place {
	f := strings.Fields(s)
	if len(f) != 4 {
		return nil
	}
	n, err := strconv.ParseInt(f[3], 10, 64)
	if err != nil {
		return nil
	}
	p := &place{step: f[0] + " " + f[2], on: f[1]}
	p.left.Store(n)
	return p
}

// Die ends the process without a chance to do anything, if this is the place.
func Die(step, on string) {
	if death == nil || death.step != step || death.on != on || death.left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// Bug tells whether this bug is planted.
func Bug(name string) bool { return *bug.Load() == name }

// Plant plants a bug in this process, "" none.
func Plant(name string) { bug.Store(&name) }
