package schemas_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

func TestFrameHeaders(t *testing.T) {
	for _, c := range []struct {
		h    schemas.FrameHeader
		want map[string]string
	}{
		{schemas.FrameHeader{}, map[string]string{}},
		{schemas.FrameHeader{Counter: 1, Events: 1}, map[string]string{"Millrace-Counter": "1", "Millrace-Events": "1", "Millrace-Acked": "0"}},
		{schemas.FrameHeader{Counter: 8, Events: 5000, Acked: 7, Source: "app.log:12 %\r\nNats-Msg-Id: x\xff"},
			map[string]string{"Millrace-Counter": "8", "Millrace-Events": "5000", "Millrace-Acked": "7", "Millrace-Source": "app.log:12%20%25%0D%0ANats-Msg-Id:%20x%FF"}},
		{schemas.FrameHeader{Counter: math.MaxUint64, Acked: math.MaxUint64 - 1, Final: true},
			map[string]string{"Millrace-Counter": "18446744073709551615", "Millrace-Events": "0", "Millrace-Acked": "18446744073709551614", "Millrace-Final": "true"}},
		{schemas.FrameHeader{Counter: 3, Events: 9, Acked: 2, Batch: 41},
			map[string]string{"Millrace-Counter": "3", "Millrace-Events": "9", "Millrace-Acked": "2", "Millrace-Batch": "41"}},
		{schemas.FrameHeader{Counter: 1, Events: 2, After: schemas.LaneEnd{Lane: "events.0.log.shop.A", Batch: 7}},
			map[string]string{"Millrace-Counter": "1", "Millrace-Events": "2", "Millrace-Acked": "0", "Millrace-After": "events.0.log.shop.A 7"}},
	} {
		m := c.h.Map()
		if diff := cmp.Diff(c.want, m); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.h, diff)
		}
		m["Millrace-Token"] = "not the frame's"
		if h, err := schemas.ParseFrameHeader(m); err != nil || h != c.h {
			t.Errorf("%v: %+v, %v", m, h, err)
		}
	}
	if h, err := schemas.ParseFrameHeader(nil); err != nil || h != (schemas.FrameHeader{}) {
		t.Errorf("no headers: %+v, %v", h, err)
	}
}

func TestFrameHeadersRefused(t *testing.T) {
	for _, c := range []struct {
		counter, events, acked, source, final, after, want string
	}{
		{"0", "1", "0", "", "", "", "frame header: Millrace-Counter: counters begin at 1"},
		{"x", "1", "0", "", "", "", `frame header: Millrace-Counter: "x" is not a whole number`},
		{"01", "1", "0", "", "", "", `frame header: Millrace-Counter: "01" is not a whole number`},
		{"18446744073709551616", "1", "0", "", "", "", `frame header: Millrace-Counter: "18446744073709551616" is not a whole number`},
		{"1", "", "0", "", "", "", `frame header: Millrace-Events: "" is not a whole number`},
		{"1", "-1", "0", "", "", "", `frame header: Millrace-Events: "-1" is not a whole number`},
		{"1", "0", "0", "", "", "", "frame header: Millrace-Events: only a final frame has no events"},
		{"1", "5001", "0", "", "", "", "frame header: Millrace-Events: more than 5000"},
		{"1", "18446744073709551615", "0", "", "", "", "frame header: Millrace-Events: more than 5000"},
		{"1", "1", "1", "", "", "", "frame header: Millrace-Acked: the frame acknowledges itself or a later one"},
		{"1", "1", strings.Repeat("9", 100), "", "", "", `frame header: Millrace-Acked: "` + strings.Repeat("9", 40) + `..." is not a whole number`},
		{"1", "1", "0", "a b", "", "", "frame header: Millrace-Source: want at most 1024 bytes of printable ASCII"},
		{"1", "1", "0", "%4", "", "", "frame header: Millrace-Source: want at most 1024 bytes of printable ASCII"},
		{"1", "1", "0", strings.Repeat("x", 1025), "", "", "frame header: Millrace-Source: want at most 1024 bytes of printable ASCII"},
		{"2", "1", "1", "", "true", "", "frame header: Millrace-Final: a final frame has no events"},
		{"2", "0", "1", "", "yes", "", "frame header: Millrace-Final: want true or no header"},
		{"", "1", "", "", "", "", "frame header: Millrace-Events without Millrace-Counter"},
		{"", "", "", "", "true", "", "frame header: Millrace-Final without Millrace-Counter"},
		{"2", "1", "1", "", "", "events.0.log.shop.A 7", "frame header: Millrace-After: only a lane's first frame has it"},
		{"1", "1", "0", "", "", "events.0.log.shop.A", `frame header: Millrace-After: "events.0.log.shop.A" is not a lane's subject and a number`},
		{"1", "1", "0", "", "", "events.0.log.shop.A 0", `frame header: Millrace-After: "events.0.log.shop.A 0" is not a lane's subject and a number`},
		{"1", "1", "0", "", "", "events.0.tick 7", `frame header: Millrace-After: "events.0.tick 7" is not a lane's subject and a number`},
		{"", "", "", "", "", "events.0.log.shop.A 7", "frame header: Millrace-After without Millrace-Counter"},
	} {
		m := map[string]string{}
		for name, v := range map[string]string{"Counter": c.counter, "Events": c.events, "Acked": c.acked, "Source": c.source, "Final": c.final, "After": c.after} {
			if v != "" || name == "Events" && c.counter != "" {
				m["Millrace-"+name] = v
			}
		}
		h, err := schemas.ParseFrameHeader(m)
		if err == nil || err.Error() != c.want {
			t.Errorf("%v: %+v, %v\nwant %s", m, h, err, c.want)
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"none", "", nil},
		{"blank", "\n \r\n\t\n", nil},
		{"one", `{"a":1}`, []string{`{"a":1}`}},
		{"many", "{\"a\":1}\n\n  \r\n{\"b\":2}\r\n {\"c\":3} \n", []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}},
		{"one over many lines", "\n{\n  \"a\": {\n    \"b\": 1\n  }\n}\n", []string{"{\n  \"a\": {\n    \"b\": 1\n  }\n}"}},
		{"a bad line first", "oops\n{\"b\":2}\n", []string{"oops", `{"b":2}`}},
		{"a bad line between", "{\"a\":1}\n{\n{\"b\":2}", []string{`{"a":1}`, "{", `{"b":2}`}},
		{"an array", "[{\"a\":1},\n{\"b\":2}]", []string{"[{\"a\":1},\n{\"b\":2}]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for i, line := range schemas.Lines([]byte(c.body)) {
				if i != len(got) {
					t.Errorf("line %d is numbered %d", len(got), i)
				}
				got = append(got, string(line))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
	for range schemas.Lines([]byte("{}\n{}\n{}")) {
		break // must not go on
	}
}

// TestFrameID: the timestamp, the subject, the body and where one ends and the
// other begins all count.
func TestFrameID(t *testing.T) {
	ids := []string{
		schemas.FrameID(1, "a.b", []byte("c")),
		schemas.FrameID(2, "a.b", []byte("c")),
		schemas.FrameID(1, "a.bc", nil),
		schemas.FrameID(1, "a.", []byte("bc")),
		schemas.FrameID(1, "a.b", []byte("d")),
		schemas.FrameID(0, "", nil),
	}
	// The first is permanent: stored partials hold it.
	if ids[0] != "3b17d1891196f6cc" {
		t.Errorf("id %s", ids[0])
	}
	for i, id := range ids {
		if len(id) != 16 || slices.Contains(ids[:i], id) {
			t.Errorf("ids %q", ids)
		}
	}
}
