package testenv

import (
	"syscall"
	"time"
)

// CPU is how long this process has had a core, in seconds. Benchmarks measure by it
// where other work shares the machine.
func CPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
