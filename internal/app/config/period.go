package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Period is for how long something is kept, in calendar years and days: 90d, 6y,
// 6y30d. The zero Period is for ever.
type Period struct{ Years, Days int }

// Before is the time that lies a period before now; the zero time if it is for
// ever.
func (p Period) Before(now time.Time) time.Time {
	if p == (Period{}) {
		return time.Time{}
	}
	return now.UTC().AddDate(-p.Years, 0, -p.Days)
}

// After is the time that lies a period after a time.
func (p Period) After(t time.Time) time.Time { return t.UTC().AddDate(p.Years, 0, p.Days) }

// AtLeast is a period in days, a year taken for 366.
func (p Period) AtLeast() int { return 366*p.Years + p.Days }

// shorter tells whether something may be kept for less than years.
func (p Period) shorter(years int) bool {
	return p != (Period{}) && p.Years < years && p.Years*365+p.Days < years*366
}

func (p Period) String() string {
	text := ""
	if p.Years > 0 {
		text += strconv.Itoa(p.Years) + "y"
	}
	if p.Days > 0 {
		text += strconv.Itoa(p.Days) + "d"
	}
	if text == "" {
		return "forever"
	}
	return text
}

// MarshalText writes String.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads years, days, both, or forever.
func (p *Period) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "forever" {
		*p = Period{}
		return nil
	}
	var read Period
	rest := text
	for _, part := range []struct {
		unit string
		n    *int
	}{{"y", &read.Years}, {"d", &read.Days}} {
		number, more, ok := strings.Cut(rest, part.unit)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 100_000 {
			return wrongPeriod(text)
		}
		*part.n, rest = n, more
	}
	if rest != "" || read == (Period{}) {
		return wrongPeriod(text)
	}
	*p = read
	return nil
}

func wrongPeriod(text string) error {
	return fmt.Errorf("%q: use years and days such as 90d or 6y30d, or forever", text)
}
