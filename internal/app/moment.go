package app

import (
	"fmt"
	"time"
)

// moment is a point in time given as a flag: how long ago (15m, 36h), a UTC day
// (2006-01-02) or RFC 3339. The zero moment is "not given".
type moment struct{ time.Time }

// UnmarshalText reads one of the forms.
func (m *moment) UnmarshalText(b []byte) error {
	text := string(b)
	if ago, err := time.ParseDuration(text); err == nil {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("%q: use how long ago (15m), a day (2006-01-02) or a time (2006-01-02T15:04:05Z)", text)
}

// nanoseconds since the Unix epoch, 0 if the moment is not given.
func (m moment) nanoseconds() int64 {
	if m.IsZero() {
		return 0
	}
	return m.UnixNano()
}

// clock is a stored time as people read it.
func clock(nanoseconds int64) string {
	return time.Unix(0, nanoseconds).UTC().Format(time.RFC3339)
}
