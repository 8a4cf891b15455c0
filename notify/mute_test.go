package notify_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dermai/millrace/notify"
)

// muted is a configuration whose root is muted.
func muted(m notify.MuteTime) notify.Config {
	return notify.Config{
		Receivers: []notify.ReceiverConfig{{Name: "team", Type: "console"}},
		Route:     notify.Route{Receiver: "team", MuteTimes: []notify.MuteTime{m}},
	}
}

// TestMuteTimeFaults: each names the place and the mend.
func TestMuteTimeFaults(t *testing.T) {
	const (
		weekdays = `; use days such as saturday, or monday:friday`
		months   = `; use months such as december, 12, or june:august`
		days     = `; use days such as 1, 1:7, or -1 for the last`
		times    = `; use times such as 22:00-06:00`
		zone     = ` is no zone; use one such as Europe/Vienna`
	)
	for _, c := range []struct {
		mute notify.MuteTime
		want string
	}{
		{notify.MuteTime{}, "it names no time; add weekdays, times, months or days_of_month"},
		{notify.MuteTime{Location: "Europe/Vienna"}, "it names no time; add weekdays, times, months or days_of_month"},
		{notify.MuteTime{Weekdays: []string{"caturday"}}, `weekdays: "caturday"` + weekdays},
		{notify.MuteTime{Weekdays: []string{"monday", "friday:tuesday"}}, `weekdays: "friday:tuesday"` + weekdays},
		{notify.MuteTime{Weekdays: []string{"1"}}, `weekdays: "1"` + weekdays},
		{notify.MuteTime{Months: []string{"13"}}, `months: "13"` + months},
		{notify.MuteTime{Months: []string{"0"}}, `months: "0"` + months},
		{notify.MuteTime{Months: []string{"august:june"}}, `months: "august:june"` + months},
		{notify.MuteTime{DaysOfMonth: []string{"0"}}, `days_of_month: "0"` + days},
		{notify.MuteTime{DaysOfMonth: []string{"32"}}, `days_of_month: "32"` + days},
		{notify.MuteTime{DaysOfMonth: []string{"7:1"}}, `days_of_month: "7:1"` + days},
		{notify.MuteTime{DaysOfMonth: []string{"-3:3"}}, `days_of_month: "-3:3"` + days},
		{notify.MuteTime{Times: []string{"22:00"}}, `times: "22:00"` + times},
		{notify.MuteTime{Times: []string{"9:00-17:00"}}, `times: "9:00-17:00"` + times},
		{notify.MuteTime{Times: []string{"22:00-24:01"}}, `times: "22:00-24:01"` + times},
		{notify.MuteTime{Times: []string{"22:60-23:00"}}, `times: "22:60-23:00"` + times},
		{notify.MuteTime{Times: []string{"08:00-08:00"}}, `times: "08:00-08:00"` + times},
		{notify.MuteTime{Times: []string{"-1:00-08:00"}}, `times: "-1:00-08:00"` + times},
		{notify.MuteTime{Times: []string{"22:00-06:00"}, Location: "Europe/Wien"}, `location: "Europe/Wien"` + zone},
		{notify.MuteTime{Times: []string{"22:00-06:00"}, Location: "Local"}, `location: "Local"` + zone},
		{notify.MuteTime{Times: []string{"22:00-06:00"}, Location: "../etc/passwd"}, `location: "../etc/passwd"` + zone},
	} {
		cfg := muted(c.mute)
		cfg.Route.Routes = []notify.Route{{MuteTimes: cfg.Route.MuteTimes}}
		want := "route.mute_times[0]: " + c.want + "\nroute.routes[0].mute_times[0]: " + c.want
		if err := cfg.Validate(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v\nwant %s", c.mute, err, want)
		}
	}
}

// TestMuteTimeSaving: a mute time is one of the clock on the wall. In Vienna the
// hour from 02:00 is missing on 2026-03-29, and comes twice on 2026-10-25.
func TestMuteTimeSaving(t *testing.T) {
	for _, c := range []struct {
		times string // of a route in Vienna
		at    string
		want  string // when it is to be asked again whether it is muted; "": it is not
	}{
		// Over the missing hour: one hour shorter.
		{"01:30-03:30", "2026-03-29T01:45:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"01:30-03:30", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"},
		{"01:30-03:30", "2026-03-29T03:30:00+02:00", ""},
		// Ends within it: when it would have begun.
		{"01:00-02:30", "2026-03-29T01:45:30+01:00", "2026-03-29T03:00:00+02:00"},
		{"01:00-02:30", "2026-03-29T03:00:00+02:00", ""},
		// Begins within it, and lies in it.
		{"02:30-04:00", "2026-03-29T01:59:59+01:00", ""},
		{"02:30-04:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		{"02:00-03:00", "2026-03-29T01:59:59+01:00", ""},
		{"02:00-03:00", "2026-03-29T03:00:00+02:00", ""},
		// Over the doubled hour: one hour longer.
		{"02:00-03:00", "2026-10-25T02:10:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"02:00-03:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		{"02:00-03:00", "2026-10-25T03:00:00+01:00", ""},
		// Ends within it: each time.
		{"01:00-02:30", "2026-10-25T01:15:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"01:00-02:30", "2026-10-25T02:30:00+02:00", ""},
		{"01:00-02:30", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"},
		{"01:00-02:30", "2026-10-25T02:30:00+01:00", ""},
		// Over midnight, and on a day without a change.
		{"22:00-06:00", "2026-10-24T23:30:00+02:00", "2026-10-25T00:00:00+02:00"},
		{"22:00-06:00", "2026-10-25T00:00:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"22:00-06:00", "2026-10-25T02:00:00+01:00", "2026-10-25T06:00:00+01:00"},
		{"08:00-12:00", "2026-07-01T11:59:59+02:00", "2026-07-01T12:00:00+02:00"},
	} {
		cfg := muted(notify.MuteTime{Times: []string{c.times}, Location: "Europe/Vienna"})
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if again, ok := cfg.Wakes().After(nil, at.UnixNano()); ok {
			got = time.Unix(0, again).In(at.Location()).Format(time.RFC3339)
		}
		if c.want != "" {
			want, err := time.Parse(time.RFC3339, c.want)
			if err != nil {
				t.Fatal(err)
			}
			c.want = want.In(at.Location()).Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s at %s: asked again at %q, want %q", c.times, c.at, got, c.want)
		}
	}
}

// TestMuteTimeSavingIsTold: what a mute time held that ends in the missing hour is
// told at its end, though nothing else happens.
func TestMuteTimeSavingIsTold(t *testing.T) {
	cfg := muted(notify.MuteTime{Times: []string{"01:00-02:30"}, Location: "Europe/Vienna"})
	p := newPlanner(t, cfg)
	fires := time.Date(2026, 3, 29, 0, 45, 0, 0, time.UTC) // 01:45 in Vienna
	d := decision(t, []string{strconv.FormatInt(fires.Unix(), 10), "fire", "R", "a=b"})
	if told := p.Feed(1, &d); len(told) != 0 {
		t.Fatalf("told within the mute time: %+v", told)
	}
	at, ok := cfg.Wakes().After(nil, fires.UnixNano())
	if !ok {
		t.Fatal("nobody is asked to look again")
	}
	d = decision(t, []string{strconv.FormatInt(at/1e9, 10)})
	told := p.Feed(2, &d)
	if len(told) != 1 || time.Unix(0, told[0].Time).UTC().Format(time.TimeOnly) != "01:00:00" {
		t.Errorf("told %s, want one at 01:00 UTC", strings.TrimSpace(asJSON(t, told)))
	}
}
