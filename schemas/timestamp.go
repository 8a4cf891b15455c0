package schemas

import (
	"math"
	"time"
)

// maxTime bounds event times, away from the epoch, in Unix ns: the whole seconds
// that an int64 surely holds.
const maxTime = math.MaxInt64 / int64(time.Second) * int64(time.Second)

const timeRange = "out of range: years 1678 to 2261"

// parseTime reads a timestamp: RFC 3339, also with a space for the T, a comma
// for the point, or without a zone (then it is of the given one). It returns
// Unix ns, or what is wrong with it.
func parseTime(s string, zone *time.Location) (ns int64, reason string) {
	const shape = "not an RFC 3339 timestamp"
	if len(s) < len("2006-01-02T15:04:05") ||
		s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' ||
		(s[10] != 'T' && s[10] != 't' && s[10] != ' ') {
		return 0, shape
	}
	year, month, day := digits(s[:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second := digits(s[11:13]), digits(s[14:16]), digits(s[17:19])
	if min(year, month, day, hour, minute, second) < 0 {
		return 0, shape
	}
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, "no such date or time of day"
	}
	rest := s[19:]
	nanos := 0
	if rest != "" && (rest[0] == '.' || rest[0] == ',') {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 {
			return 0, shape
		}
		if n > 10 {
			return 0, "more than nine digits after the point"
		}
		nanos = digits(rest[1:n])
		for range 10 - n {
			nanos *= 10
		}
		rest = rest[n:]
	}
	t, ok := instant(rest, zone, year, month, day, hour, minute, second)
	if !ok {
		return 0, shape
	}
	const last = maxTime / int64(time.Second)
	if t >= last || t <= -last {
		return 0, timeRange
	}
	return t*int64(time.Second) + int64(nanos), ""
}

// instant is the Unix second of a date and time of day in the zone that suffix
// names, or in the given one if it names none.
func instant(suffix string, zone *time.Location, year, month, day, hour, minute, second int) (int64, bool) {
	switch {
	case suffix == "" && zone != nil && zone != time.UTC:
		return time.Date(year, time.Month(month), day, hour, minute, second, 0, zone).Unix(), true
	case suffix == "", suffix == "Z", suffix == "z":
		return unix(year, month, day, hour, minute, second), true
	case len(suffix) != len("+00:00") || suffix[3] != ':' || (suffix[0] != '+' && suffix[0] != '-'):
		return 0, false
	}
	h, m := digits(suffix[1:3]), digits(suffix[4:6])
	if h < 0 || h > 23 || m < 0 || m > 59 {
		return 0, false
	}
	offset := int64(h*3600 + m*60)
	if suffix[0] == '-' {
		offset = -offset
	}
	return unix(year, month, day, hour, minute, second) - offset, true
}

// unix counts seconds since the epoch in UTC: time.Date without its
// normalisation, since dates are read for every event. Days are counted in
// years that begin in March (H. Hinnant, "chrono-Compatible Low-Level Date
// Algorithms", days_from_civil).
func unix(year, month, day, hour, minute, second int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	days := year*365 + floorDiv(year, 4) - floorDiv(year, 100) + floorDiv(year, 400) + dayOfYear - 719468
	return int64(days)*86400 + int64(hour*3600+minute*60+second)
}

// floorDiv rounds down; n is negative only for January and February of year 0.
func floorDiv(n, by int) int {
	if n < 0 {
		return -1
	}
	return n / by
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// digits reads a short decimal number, -1 if s is not one.
func digits(s string) int {
	n := 0
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return -1
		}
		n = n*10 + int(c)
	}
	return n
}

// appendTime writes Unix ns as RFC 3339 in UTC with as many digits as it needs.
func appendTime(dst []byte, ns int64) []byte {
	return time.Unix(0, ns).UTC().AppendFormat(dst, time.RFC3339Nano)
}
