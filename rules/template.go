package rules

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/suggest"
)

// template is the text of an annotation with places for {{ $labels.x }},
// {{ $value }} and {{ $n }}, each with | and the name of a format behind it if
// it is to look better. There is nothing else: no conditions, no loops, no
// functions of text. What is put in is data and is never read as a template.
type template []piece

type piece struct {
	text   string // as it is, where what is ""
	what   string // "$value", "$n" or the name of a label
	format func(float64) string
}

// facts are what a template shows.
type facts struct {
	labels map[string]string
	value  *float64 // nil: the window is empty and there is none
	n      int64
}

const noValue = "no data"

// formats are what may stand behind a |.
func formats() map[string]func(float64) string {
	return map[string]func(float64) string{
		"percent":  formatPercent,
		"duration": formatMilliseconds,
		"humanize": humanize,
		"number":   formatRounded,
	}
}

// parseTemplate reads a template that may show the given labels. An error tells
// the line within the text, from 0.
func parseTemplate(s string, labels []string) (template, int, error) {
	var t template
	line := 0
	for {
		text, rest, found := strings.Cut(s, "{{")
		if before, _, closed := strings.Cut(text, "}}"); closed {
			return nil, line + strings.Count(before, "\n"), fmt.Errorf("}} without {{ before it: remove it")
		}
		t = append(t, piece{text: text})
		if !found {
			return t, 0, nil
		}
		line += strings.Count(text, "\n")
		inner, rest, found := strings.Cut(rest, "}}")
		if !found {
			return nil, line, fmt.Errorf("{{ without }} behind it: close it")
		}
		p, err := parsePiece(inner, labels)
		if err != nil {
			return nil, line, fmt.Errorf("{{%s}}: %w", inner, err)
		}
		t = append(t, p)
		line += strings.Count(inner, "\n")
		s = rest
	}
}

func parsePiece(inner string, labels []string) (piece, error) {
	what, format, formatted := strings.Cut(inner, "|")
	what, format = strings.TrimSpace(what), strings.TrimSpace(format)
	p := piece{what: what}
	label, isLabel := strings.CutPrefix(what, "$labels.")
	switch {
	case isLabel && !slices.Contains(labels, label):
		return p, fmt.Errorf("the alert has no label %s%s", label, orThereAre(label, labels))
	case isLabel && formatted:
		return p, fmt.Errorf("a label is text and has no format: remove | %s", format)
	case isLabel:
		p.what = label
		return p, nil
	case what != "$value" && what != "$n":
		return p, fmt.Errorf("write $value, $n or $labels.name")
	case !formatted:
		p.format = formatNumber
		return p, nil
	}
	p.format = formats()[format]
	if p.format == nil {
		return p, fmt.Errorf("there is no format %s%s", format, orThereAre(format, slices.Collect(maps.Keys(formats()))))
	}
	return p, nil
}

func orThereAre(word string, known []string) string {
	if mean := suggest.DidYouMean(word, known); mean != "" {
		return mean
	}
	return "; there are " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

func (t template) render(f facts) string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.what == "":
			b.WriteString(p.text)
		case p.format == nil:
			b.WriteString(f.labels[p.what])
		case p.what == "$n":
			b.WriteString(p.format(float64(f.n)))
		case f.value == nil:
			b.WriteString(noValue)
		default:
			b.WriteString(p.format(*f.value))
		}
	}
	return b.String()
}

// formatRounded writes a number with at most three decimals.
func formatRounded(v float64) string {
	if r := math.Round(v*1000) / 1000; !math.IsInf(r, 0) {
		v = r
	}
	return formatNumber(v + 0)
}

// formatPercent writes a ratio as a percentage with at most two decimals.
func formatPercent(v float64) string {
	if r := math.Round(v*10000) / 100; !math.IsInf(r, 0) {
		return formatNumber(r+0) + "%"
	}
	return formatNumber(v) + " times"
}

// formatMilliseconds writes a number of milliseconds, which is what duration_ms
// holds, as 850ms, 2.4s or 1h30m.
func formatMilliseconds(v float64) string {
	switch a := math.Abs(v); {
	case a < 1000:
		return formatRounded(v) + "ms"
	case a < 60_000:
		return formatRounded(v/1000) + "s"
	case a < 1e12:
		return FormatDuration(time.Duration(math.Round(v/1000)) * time.Second)
	}
	return formatRounded(v) + "ms"
}

// humanize writes a number with three digits and a prefix: 1.23k, 4.5M.
func humanize(v float64) string {
	prefix := 0
	for math.Abs(v) >= 999.5 && prefix < len(prefixes)-1 {
		v /= 1000
		prefix++
	}
	s := strconv.FormatFloat(v, 'g', 3, 64)
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		s = formatNumber(n + 0)
	}
	return s + prefixes[prefix]
}

var prefixes = []string{"", "k", "M", "G", "T", "P"}
