package rules

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The units of durations, in the order in which they may follow each other.
var units = []struct {
	name string
	size time.Duration
}{
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond},
}

// ParseDuration reads 5m, 25h, 1d or 1h30m: whole numbers with units, larger
// units first, as Prometheus writes them (without weeks and years). "0" is
// zero.
func ParseDuration(s string) (time.Duration, bool) {
	if s == "0" {
		return 0, true
	}
	var total time.Duration
	next := 0
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, false
		}
		rest = rest[digits:]
		name := rest[:len(rest)-len(strings.TrimLeft(rest, "dhms"))]
		i := next
		for i < len(units) && units[i].name != name {
			i++
		}
		if i == len(units) || n > int64((math.MaxInt64-total)/units[i].size) {
			return 0, false
		}
		total += time.Duration(n) * units[i].size
		rest, next = rest[len(name):], i+1
	}
	return total, s != ""
}

// FormatDuration is the inverse of ParseDuration, down to milliseconds.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	var b strings.Builder
	for _, u := range units {
		if n := d / u.size; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			d %= u.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
