package sources_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dermai/millrace/sources"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestDoorRefusesBadEvents(t *testing.T) {
	for _, bad := range badLines {
		t.Run(bad.name, func(t *testing.T) {
			s := &store{}
			r := prometheus.NewRegistry()
			door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}, Metrics: sources.NewMetrics(r)})
			a := post(t, door, "/", event("good")+bad.line+"\n"+event("good"), ndjson)
			if a.status != http.StatusBadRequest || len(a.Events) != 1 {
				t.Fatalf("%d %+v", a.status, a)
			}
			got := a.Events[0]
			reason, _, _ := strings.Cut(got.Reason, "; ")
			if got.Index != 1 || got.Line != 2 || got.Field != bad.field || reason != bad.reason {
				t.Errorf("got %+v", got)
			}
			if s.calls != 0 {
				t.Error("something was stored")
			}
			if n := testutil.ToFloat64(counter(t, r, "millrace_source_refused_total", "invalid")); n != 1 {
				t.Errorf("counted %v times", n)
			}
			// The door is as good as before.
			if a := post(t, door, "/", event("good")); a.status != http.StatusAccepted {
				t.Errorf("afterwards: %+v", a)
			}
		})
	}
}

// counter finds a counter or gauge by the value of its last label.
func counter(t *testing.T, g prometheus.Gatherer, name, label string) prometheus.Collector {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := prometheus.NewGauge(prometheus.GaugeOpts{Name: "found", Help: "found"})
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := m.GetLabel()
			if f.GetName() == name && labels[len(labels)-1].GetValue() == label {
				found.Set(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return found
}

func TestDoorRefusesRequests(t *testing.T) {
	long := `{"message":"` + strings.Repeat("x", 256<<10) + `"}`
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `{"message":"m","service":"s%d"}`+"\n", i)
	}
	for _, test := range []struct {
		name    string
		method  string // "": POST
		target  string
		body    string
		headers []string
		status  int
		want    string // in the error
		header  string // "Name: value"
	}{
		{name: "GET", method: "GET", status: 405, want: "sent by POST", header: "Allow: POST"},
		{name: "OPTIONS, as a browser asks before a request of another origin", method: "OPTIONS", status: 405, want: "sent by POST", header: "Allow: POST"},
		{name: "PUT", method: "PUT", body: event("m"), status: 405, want: "sent by POST"},
		{name: "a web page of another origin", body: event("m"), headers: []string{"Sec-Fetch-Site: cross-site", "Content-Type: text/plain"}, status: 403, want: "other origins"},
		{name: "a web page of another origin, in an old browser", body: event("m"), headers: []string{"Origin: http://elsewhere.example"}, status: 403, want: "other origins"},
		{name: "no body", status: 400, want: "holds no event"},
		{name: "blanks", body: " \n\t\r\n ", status: 400, want: "holds no event"},
		{name: "blank lines", body: "\n\n", headers: []string{ndjson}, status: 400, want: "holds no event"},
		{name: "an empty array", body: "[]", status: 400, want: "holds no event"},
		{name: "an array that does not end", body: `[{"message":"m"}`, status: 400, want: "1 bad event;"},
		{name: "an array without commas", body: `[{"message":"m"} {"message":"m"}]`, status: 400, want: "1 bad event;"},
		{name: "two arrays", body: `[{"message":"m"}][]`, status: 400, want: "1 bad event;"},
		{name: "a form", body: "message=m&service=s", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 400, want: "1 bad event;"},
		{name: "a protobuf", body: "\x0a\x02", headers: []string{"Content-Type: application/x-protobuf"}, status: 415, want: "application/x-ndjson"},
		{name: "XML", body: "<event/>", headers: []string{"Content-Type: text/xml"}, status: 415, want: "application/x-ndjson"},
		{name: "a type that is none", body: event("m"), headers: []string{"Content-Type: ;"}, status: 415, want: "application/x-ndjson"},
		{name: "UTF-16", body: event("m"), headers: []string{"Content-Type: application/json; charset=utf-16"}, status: 415, want: "application/x-ndjson"},
		{name: "zstd", body: event("m"), headers: []string{"Content-Encoding: zstd"}, status: 415, want: "or gzip", header: "Accept-Encoding: gzip"},
		{name: "gzip twice", body: zip(zip(event("m"))), headers: []string{"Content-Encoding: gzip, gzip"}, status: 415, want: "or gzip"},
		{name: "gzip that is none", body: event("m"), headers: []string{"Content-Encoding: gzip"}, status: 400, want: "not gzip"},
		{name: "gzip cut off", body: zip(events(0, 100))[:60], headers: []string{"Content-Encoding: gzip", ndjson}, status: 400, want: "not gzip"},
		{name: "gzip with a bit turned", body: flip(zip(events(0, 100))), headers: []string{"Content-Encoding: gzip", ndjson}, status: 400, want: "not gzip"},
		{name: "a line over the limit", body: long + "\n" + event("m"), headers: []string{ndjson}, status: 413, want: "1 bad event;"},
		{name: "an event over the limit", body: long, status: 413, want: "1 bad event;"},
		{name: "an event far over the limit", body: `[{"message":"m"},{"message":"` + strings.Repeat("x", 7<<20), status: 413, want: "1 bad event;"},
		{name: "a body over the limit", body: strings.Repeat(event(strings.Repeat("m", 1<<17)), 64), headers: []string{ndjson}, status: 413, want: "over 8 MiB"},
		{name: "a body over the limit when it is decompressed", body: zip(prose(33 << 20)), headers: []string{"Content-Encoding: gzip", ndjson}, status: 413, want: "32 MiB decompressed"},
		{name: "a bomb", body: zip(strings.Repeat(event(strings.Repeat("m", 1000)), 4000)), headers: []string{"Content-Encoding: gzip"}, status: 413, want: "200:1"},
		{name: "a bomb of blank lines", body: zip(strings.Repeat("\n", 30<<20)), headers: []string{"Content-Encoding: gzip", ndjson}, status: 413, want: "200:1"},
		{name: "a bomb in one line", body: zip(strings.Repeat("x", 30<<20)), headers: []string{"Content-Encoding: gzip", ndjson}, status: 413, want: "200:1"},
		{name: "too many bad events", body: strings.Repeat("x\n", 1000), headers: []string{ndjson}, status: 400, want: "20 bad events or more"},
		{name: "too many services", body: many.String(), headers: []string{ndjson}, status: 400, want: "1 bad event;"},
		{name: "a parameter that does not exist", target: "/?serivce=a", body: event("m"), status: 400, want: `no parameter "serivce"`},
		{name: "an unknown kind", target: "/?kind=trace", body: event("m"), status: 400, want: "use log, metric or audit"},
		{name: "two kinds", target: "/?kind=log&kind=audit", body: event("m"), status: 400, want: "use log, metric or audit"},
		{name: "two services", target: "/?service=a", body: event("m"), headers: []string{"X-Millrace-Service: b"}, status: 400, want: "two services"},
		{name: "a service too long", target: "/?service=" + strings.Repeat("s", 64), body: event("m"), status: 400, want: "at most 63"},
		{name: "an empty service", target: "/?service=", body: event("m"), status: 400, want: "service"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{}
			door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}})
			method, target := test.method, test.target
			if method == "" {
				method = "POST"
			}
			if target == "" {
				target = "/"
			}
			r := httptest.NewRequest(method, target, strings.NewReader(test.body))
			for _, h := range test.headers {
				name, value, _ := strings.Cut(h, ": ")
				r.Header.Add(name, value)
			}
			a := send(t, door, r)
			if a.status != test.status || !strings.Contains(a.Error, test.want) {
				t.Errorf("got %d %+v", a.status, a)
			}
			if name, value, ok := strings.Cut(test.header, ": "); ok && a.header.Get(name) != value {
				t.Errorf("header %v, want %s", a.header, test.header)
			}
			if s.calls != 0 {
				t.Error("something was stored")
			}
		})
	}
}

// flip turns a bit in the middle.
func flip(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 0x10
	return string(b)
}

// prose makes n bytes of large events that compress as events do.
func prose(n int) string {
	var b strings.Builder
	for i := uint64(1); b.Len() < n; {
		b.WriteString(`{"message":"`)
		for range 500 {
			fmt.Fprintf(&b, "many words many words many words many words many words %x ", i*0x9e3779b97f4a7c15)
			i++
		}
		b.WriteString("\"}\n")
	}
	return b.String()
}

func TestDoorNamesBadEvents(t *testing.T) {
	s := &store{}
	door := sources.NewDoor(s, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}})
	a := post(t, door, "/", `[{"message":1},{"message":"good"},{"level":"<script>","message":"m"}]`)
	want := []sources.Fault{
		{Index: 0, Field: "message", Reason: "want a string, got a number"},
		{Index: 2, Field: "level", Reason: `unknown level "<script>"; use DEBUG, INFO, WARNING, ERROR or CRITICAL`},
	}
	if diff := cmp.Diff(want, a.Events, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "long" }, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
	w := httptest.NewRecorder()
	door.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(`{"level":"<script>"}`)))
	if strings.Contains(w.Body.String(), "<") {
		t.Errorf("markup of an event came back: %s", w.Body)
	}
}

// TestDoorExplainsSyntax names the place and the mend also where the body is one
// event, or an array: what a client sends whose JSON encoder writes NaN.
func TestDoorExplainsSyntax(t *testing.T) {
	const behind = "nothing behind it was read; send NDJSON as application/x-ndjson to see the faults of every line"
	for _, test := range []struct {
		name, body string
		want       sources.Fault
	}{
		{"one event", `{"service":"api","attributes":{"x":NaN}}`,
			sources.Fault{Field: "attributes.x", Reason: "not valid JSON at byte 35 of the body; JSON has no NaN: send null or leave it out"}},
		{"single quotes", `{'service':'api'}`, sources.Fault{Reason: `not valid JSON at byte 1 of the body; quote with "`}},
		{"byte order mark", "\xef\xbb\xbf" + event("m"), sources.Fault{Reason: "not valid JSON at byte 0 of the body; send it without a byte order mark"}},
		{"no JSON", "hello", sources.Fault{Reason: "not valid JSON at byte 0 of the body"}},
		{"cut off", `{"service":"api"`, sources.Fault{Reason: "not valid JSON at byte 16 of the body"}},
		{"the second of an array", `[{"service":"api","message":"m"},` + "\n" + ` {"service":"api","x":True}]`,
			sources.Fault{Index: 1, Field: "x", Reason: "not valid JSON at byte 56 of the body; write true; " + behind}},
		{"behind an event", `{"message":"m"} {"service":"api",}`, sources.Fault{Index: 1, Reason: "not valid JSON at byte 33 of the body; a comma too many?; " + behind}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := post(t, sources.NewDoor(&store{}, sources.DoorConfig{Defaults: sources.Defaults{Service: "api"}}), "/", test.body, "Content-Type: application/json")
			if diff := cmp.Diff([]sources.Fault{test.want}, a.Events, cmp.AllowUnexported(sources.Fault{})); diff != "" || a.status != http.StatusBadRequest {
				t.Errorf("%d (-want +got):\n%s", a.status, diff)
			}
		})
	}
}
