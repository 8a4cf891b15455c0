package notify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MuteTime is a time that comes again, in which a route tells nothing. What is
// not given does not matter.
type MuteTime struct {
	// Weekdays, such as saturday, or monday:friday.
	Weekdays []string `yaml:"weekdays,omitempty" json:"weekdays,omitempty"`
	// Times of the day, such as 22:00-06:00. One over midnight belongs to the day
	// on which it begins.
	Times []string `yaml:"times,omitempty" json:"times,omitempty"`
	// Months, such as december, 12, or june:august.
	Months []string `yaml:"months,omitempty" json:"months,omitempty"`
	// DaysOfMonth, such as 1, 1:7, or -1 for the last.
	DaysOfMonth []string `yaml:"days_of_month,omitempty" json:"days_of_month,omitempty"`
	// Location is a zone of the IANA data base. Default: UTC.
	Location string `yaml:"location,omitempty" json:"location,omitempty"`
}

// mute is a MuteTime that was read.
type mute struct {
	weekdays, months, days []span
	times                  []span // minutes of the day, the end exclusive
	location               *time.Location
}

// span is from one number to another, both included.
type span struct{ from, to int }

func (s span) has(n int) bool { return s.from <= n && n <= s.to }

var (
	weekdayNames = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	monthNames   = []string{"", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
)

// compile reads a mute time; the error names the field and the mend.
func (t MuteTime) compile() (*mute, error) {
	out := &mute{location: time.UTC}
	if len(t.Weekdays)+len(t.Times)+len(t.Months)+len(t.DaysOfMonth) == 0 {
		return nil, errors.New("it names no time; add weekdays, times, months or days_of_month")
	}
	var err error
	if t.Location != "" {
		if out.location, err = time.LoadLocation(t.Location); err != nil || t.Location == "Local" {
			return nil, fmt.Errorf("location: %q is no zone; use one such as Europe/Vienna", t.Location)
		}
	}
	for _, text := range t.Weekdays {
		s, ok := parseSpan(text, func(s string) (int, bool) { return nameOf(s, weekdayNames, 0) })
		if !ok || s.from > s.to && s.to != 0 {
			return nil, fmt.Errorf("weekdays: %q; use days such as saturday, or monday:friday", text)
		}
		if s.from > s.to { // saturday:sunday
			out.weekdays = append(out.weekdays, span{0, 0})
			s.to = 6
		}
		out.weekdays = append(out.weekdays, s)
	}
	for _, text := range t.Months {
		s, ok := parseSpan(text, func(s string) (int, bool) { return nameOf(s, monthNames, 1) })
		if !ok || s.from > s.to {
			return nil, fmt.Errorf("months: %q; use months such as december, 12, or june:august", text)
		}
		out.months = append(out.months, s)
	}
	for _, text := range t.DaysOfMonth {
		s, ok := parseSpan(text, func(s string) (int, bool) {
			n, err := strconv.Atoi(s)
			return n, err == nil && n != 0 && -31 <= n && n <= 31
		})
		if !ok || s.from > s.to || s.from < 0 && s.to > 0 {
			return nil, fmt.Errorf("days_of_month: %q; use days such as 1, 1:7, or -1 for the last", text)
		}
		out.days = append(out.days, s)
	}
	for _, text := range t.Times {
		from, to, found := strings.Cut(text, "-")
		a, ok := clockMinute(from)
		b, ok2 := clockMinute(to)
		if !found || !ok || !ok2 || a == b {
			return nil, fmt.Errorf("times: %q; use times such as 22:00-06:00", text)
		}
		out.times = append(out.times, span{a, b})
	}
	return out, nil
}

// parseSpan reads x or x:y.
func parseSpan(text string, number func(string) (int, bool)) (span, bool) {
	from, to, found := strings.Cut(strings.TrimSpace(text), ":")
	if !found {
		to = from
	}
	a, ok := number(strings.TrimSpace(from))
	b, ok2 := number(strings.TrimSpace(to))
	return span{a, b}, ok && ok2
}

// nameOf finds a name, or a number where numbers are used, from least on.
func nameOf(s string, names []string, least int) (int, bool) {
	if i := slices.Index(names, strings.ToLower(s)); i >= least && s != "" {
		return i, true
	}
	n, err := strconv.Atoi(s)
	return n, least > 0 && err == nil && least <= n && n < len(names)
}

// clockMinute reads HH:MM, up to 24:00.
func clockMinute(s string) (int, bool) {
	var h, m int
	s = strings.TrimSpace(s)
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	h, err := strconv.Atoi(s[:2])
	m, err2 := strconv.Atoi(s[3:])
	return h*60 + m, err == nil && err2 == nil && h >= 0 && m >= 0 && m < 60 && (h < 24 || h == 24 && m == 0)
}

// day tells whether a day is one of the mute time's.
func (m *mute) day(t time.Time) bool {
	last := time.Date(t.Year(), t.Month()+1, 0, 12, 0, 0, 0, time.UTC).Day()
	return within(m.weekdays, int(t.Weekday())) && within(m.months, int(t.Month())) &&
		(within(m.days, t.Day()) || within(m.days, t.Day()-last-1))
}

// within tells whether a number is in one of the spans; without any it is.
func within(spans []span, n int) bool {
	return len(spans) == 0 || slices.ContainsFunc(spans, func(s span) bool { return s.has(n) })
}

// until tells whether a time is muted, and when that is to be asked again: it is
// muted without a break until then.
func (m *mute) until(at time.Time) (time.Time, bool) {
	t := at.In(m.location)
	minute := t.Hour()*60 + t.Minute()
	yesterday := time.Date(t.Year(), t.Month(), t.Day()-1, 12, 0, 0, 0, m.location)
	muted := len(m.times) == 0 && m.day(t)
	next := 24 * 60
	for _, s := range m.times {
		switch {
		case s.from < s.to:
			muted = muted || s.from <= minute && minute < s.to && m.day(t)
		default: // over midnight
			muted = muted || minute >= s.from && m.day(t) || minute < s.to && m.day(yesterday)
		}
		for _, edge := range []int{s.from, s.to} {
			if edge > minute {
				next = min(next, edge)
			}
		}
	}
	// The clock on the wall may be changed before it shows the next edge.
	edge := at.Truncate(time.Minute).Add(time.Duration(next-minute) * time.Minute)
	if _, change := t.ZoneBounds(); !change.IsZero() && change.Before(edge) {
		edge = change
	}
	return edge, muted
}
