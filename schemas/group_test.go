package schemas_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		names, values []string
		want          string
	}{
		{nil, nil, ""},
		{[]string{"service"}, []string{"api"}, "service=api"},
		{[]string{"service", "job"}, []string{"api", "nightly backup"}, "service=api,job=nightly backup"},
		{[]string{"a"}, []string{""}, "a="},
		{[]string{"a", "b"}, []string{"x,b=y", "100%"}, "a=x%2Cb%3Dy,b=100%25"},
		{[]string{"a"}, []string{"line\nbreak\x7f\x00"}, "a=line%0Abreak%7F%00"},
		{[]string{"a"}, []string{"žluť {\"x\"}"}, "a=žluť {\"x\"}"},
		{[]string{"a"}, []string{"\xff\xc3"}, "a=%FF%C3"},
		{[]string{"a"}, []string{"\ufffd"}, "a=\ufffd"},
	} {
		got := schemas.GroupOf(c.names, c.values)
		if got != c.want {
			t.Errorf("group of %q %q: %q, want %q", c.names, c.values, got, c.want)
		}
		var want []schemas.Label
		for i := range c.names {
			want = append(want, schemas.Label{Name: c.names[i], Value: c.values[i]})
		}
		if diff := cmp.Diff(want, schemas.ParseGroup(got)); diff != "" {
			t.Errorf("labels of %q (-want +got):\n%s", got, diff)
		}
	}
}

func TestGroupOfLongValues(t *testing.T) {
	long := strings.Repeat("ž", 200)
	a := schemas.GroupOf([]string{"a"}, []string{long + "1"})
	b := schemas.GroupOf([]string{"a"}, []string{long + "2"})
	if a == b {
		t.Error("two values became one group")
	}
	if !utf8.ValidString(a) || len(a) > len("a=")+schemas.GroupValueBytes || !strings.HasPrefix(a, "a=žž") {
		t.Errorf("cut to %d bytes: %q", len(a), a)
	}
	labels := schemas.ParseGroup(a)
	if len(labels) != 1 || schemas.GroupOf([]string{"a"}, []string{labels[0].Value}) != a {
		t.Errorf("labels of a cut value: %q", labels)
	}
	whole := strings.Repeat("x", schemas.GroupValueBytes)
	if got := schemas.GroupOf([]string{"a"}, []string{whole}); got != "a="+whole {
		t.Errorf("a value at the limit became %q", got)
	}
	if got := schemas.GroupOf([]string{"a"}, []string{strings.Repeat("\x80", 1000)}); len(got) > 2+3*schemas.GroupValueBytes {
		t.Errorf("%d bytes", len(got))
	}
}

func TestParseGroupOfOthers(t *testing.T) {
	for _, s := range []string{"~other", "a", "a=1,", ",a=1", "a=%4", "a=%zz", "a=%2c", "a=%41", "a=1=2", "a=\n", "a=\xff"} {
		if labels := schemas.ParseGroup(s); labels != nil {
			t.Errorf("%q: %q", s, labels)
		}
	}
}

func FuzzParseGroup(f *testing.F) {
	for _, s := range []string{"", "service=api,job=x", "a=%2C", "~other", "a=1,,b=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		labels := schemas.ParseGroup(s)
		var names, values []string
		for _, l := range labels {
			names, values = append(names, l.Name), append(values, l.Value)
		}
		if labels != nil && schemas.GroupOf(names, values) != s {
			t.Fatalf("%q gives %q, which is written %q", s, labels, schemas.GroupOf(names, values))
		}
		// And the other way.
		g := schemas.GroupOf([]string{s, "b"}, []string{"c", s})
		if !utf8.ValidString(g) || strings.ContainsAny(g, "\n\x00") {
			t.Fatalf("group %q", g)
		}
		if len(s) <= schemas.GroupValueBytes {
			want := []schemas.Label{{Name: s, Value: "c"}, {Name: "b", Value: s}}
			if diff := cmp.Diff(want, schemas.ParseGroup(g)); diff != "" {
				t.Fatalf("labels of %q (-want +got):\n%s", g, diff)
			}
		}
	})
}
