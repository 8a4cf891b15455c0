package schemas_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/schemas"
)

// TestTimestamps reads thousands of times in every spelling and compares with
// package time.
func TestTimestamps(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		prague = time.FixedZone("+01", 3600)
	}
	layouts := []string{
		time.RFC3339Nano, "2006-01-02T15:04:05Z07:00", "2006-01-02t15:04:05.000Z07:00", "2006-01-02 15:04:05.000000-07:00",
		"2006-01-02 15:04:05,000", "2006-01-02T15:04:05", "2006-01-02T15:04:05.999999999",
	}
	random := rand.New(rand.NewPCG(1, 2))
	first := time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	for range 20000 {
		zone := []*time.Location{time.UTC, prague, time.FixedZone("", -11*3600-30*60), nil}[random.IntN(4)]
		in := zone
		if in == nil {
			in = time.UTC
		}
		layout := layouts[random.IntN(len(layouts))]
		text := time.Unix(first+random.Int64N(last-first), random.Int64N(1e9)).In(in).Format(layout)
		want, err := time.ParseInLocation(layout, text, in)
		if err != nil {
			continue // a zone with seconds, of before the railways
		}
		e, err := schemas.Decode([]byte(`{"service":"s","timestamp":"`+text+`"}`), schemas.Origin{Zone: zone})
		if err != nil || e.Time != want.UnixNano() {
			t.Fatalf("%s in %v: %v, %v; want %v", text, zone, e.Time, err, want.UnixNano())
		}
	}
}

// TestTimestampsOfEveryDay goes through 800 years at the last second of the day.
func TestTimestampsOfEveryDay(t *testing.T) {
	for day := time.Date(1678, 1, 1, 23, 59, 59, 0, time.UTC); day.Year() < 2262; day = day.AddDate(0, 0, 1) {
		text := day.Format("2006-01-02T15:04:05Z")
		e, err := schemas.Decode([]byte(`{"service":"s","timestamp":"`+text+`"}`), schemas.Origin{})
		if err != nil || e.Time != day.UnixNano() {
			t.Fatalf("%s: %v, %v; want %v", text, e.Time, err, day.UnixNano())
		}
	}
}

// TestTimestampsAtTheEnds: the last times that are accepted can be written again.
func TestTimestampsAtTheEnds(t *testing.T) {
	for text, ok := range map[string]bool{
		"2262-04-11T23:47:15.999999999Z": true,
		"2262-04-11T23:47:16Z":           false,
		"1677-09-21T00:12:45Z":           true,
		"1677-09-21T00:12:44Z":           false,
		"0000-01-01T00:00:00Z":           false,
		"9999-12-31T23:59:59-23:59":      false,
	} {
		e, err := schemas.Decode([]byte(`{"service":"s","timestamp":"`+text+`"}`), schemas.Origin{})
		if (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
		if line, err := schemas.AppendJSON(nil, &e); ok && (err != nil || !strings.Contains(string(line), text)) {
			t.Errorf("%s: written %s, %v", text, line, err)
		}
	}
}

// TestTimestampsBroken replaces each byte of a timestamp: it is accepted if
// and as package time reads it.
func TestTimestampsBroken(t *testing.T) {
	const text = "2025-11-27T10:30:45.123+01:00"
	for i := range len(text) {
		for c := byte(' '); c < 0x7f; c++ {
			if c == '"' || c == '\\' {
				continue
			}
			broken := text[:i] + string(c) + text[i+1:]
			e, err := schemas.Decode([]byte(`{"service":"s","timestamp":"`+broken+`"}`), schemas.Origin{})
			want, wantErr := time.Parse(time.RFC3339Nano, broken)
			spelled := i == 10 && (c == ' ' || c == 't') || i == 19 && c == ','
			if spelled {
				want, wantErr = time.Parse(time.RFC3339Nano, text)
			}
			// Package time takes any year, and 60 minutes in a zone.
			if want.Year() < 1678 || want.Year() > 2261 || broken[len(broken)-2] == '6' {
				wantErr = errors.New("refused here")
			}
			if (err == nil) != (wantErr == nil) || err == nil && e.Time != want.UnixNano() {
				t.Errorf("%s: %v, %v; want %v, %v", broken, e.Time, err, want.UnixNano(), wantErr)
			}
		}
	}
}
