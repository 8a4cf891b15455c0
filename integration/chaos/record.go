package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/integration/faultlog"
)

// Record is a run in the committed ledger, which is only added to.
type Record struct {
	Kind    string   `json:"kind,omitempty"` // "": a run of this program; others have their lines in the same file
	Commit  string   `json:"commit"`         // the last that changed the data path
	Seed    int64    `json:"seed"`
	Runs    int      `json:"runs,omitempty"` // that the line is about; 0: one
	Servers int      `json:"servers"`
	Store   string   `json:"store,omitempty"` // of the archive; "": files
	Faults  []string `json:"faults"`          // kinds
	Made    int      `json:"made"`
	Outcome string   `json:"outcome"`
	Seconds float64  `json:"seconds"`
	Flow    float64  `json:"flow"`    // seconds from the last heal to the first stored event
	Lag     float64  `json:"lag"`     // ... until both classes were decided beyond it
	Slowest float64  `json:"slowest"` // seconds from the end of a tick until a change at it was stored
	Counts  Counts   `json:"counts"`
	Why     []string `json:"why,omitempty"`
}

const docFile = "docs/guarantees.md"

// record of a run that took so long.
func record(commit string, o *Options, v *Verdict, took time.Duration) Record {
	r := Record{
		Commit: commit, Seed: o.Seed, Servers: o.Servers, Faults: o.Faults, Made: v.Counts.Faults, Outcome: v.Outcome,
		Seconds: tenths(took), Flow: tenths(v.Flow), Lag: tenths(v.Lag), Slowest: tenths(v.Slowest), Counts: v.Counts, Why: v.Why,
	}
	if o.Store != storeFiles {
		r.Store = o.Store
	}
	for _, f := range v.Findings {
		r.Why = append(r.Why, f.Check+": "+f.Text[:min(len(f.Text), 200)])
	}
	return r
}

// tenths are seconds with one decimal.
func tenths(d time.Duration) float64 { return float64(d.Round(100*time.Millisecond)) / 1e9 }

// Around what is written into the document.
const (
	bugsBegin = "<!-- bugs: begin; written by go run ./integration/chaos -sum -->"
	bugsEnd   = "<!-- bugs: end -->"

	sumBegin = "<!-- faults: begin; written by go run ./integration/chaos -sum -->"
	sumEnd   = "<!-- faults: end -->"
)

// summary is what the ledger comes to, in Markdown.
func summary(all []Record) string {
	list := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return r.Kind != "" })
	var b strings.Builder
	b.WriteString("| | runs | passed | failed | unknown | faults made | events stored | transitions | notifications |\n|---|---|---|---|---|---|---|---|---|\n")
	var total Counts
	for _, row := range []struct {
		name string
		in   func(Record) bool
	}{
		{"no fault", func(r Record) bool { return len(r.Faults) == 0 }},
		{"one or two kinds of fault", func(r Record) bool { return len(r.Faults) == 1 || len(r.Faults) == 2 }},
		{"three or more", func(r Record) bool { return len(r.Faults) >= 3 }},
		{"**all**", func(Record) bool { return true }},
	} {
		outcomes := map[string]int{}
		var c Counts
		n := 0
		for _, r := range list {
			if !row.in(r) {
				continue
			}
			n++
			outcomes[r.Outcome]++
			c.add(r.Counts)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", row.name, n, outcomes[outcomePass], outcomes[outcomeFail],
			outcomes[outcomeUnknown], c.Faults, c.Stored, c.Transitions, c.Notifications)
		total = c
	}
	fmt.Fprintf(&b, "\nEvents lost: %d. Invented: %d. Stored twice: %d. Alerts and notifications missed: %d. Phantom: %d. Notifications sent again: %d.\n",
		total.Lost, total.Invented, total.Twice, total.Missed, total.Phantom, total.Repeats)
	onS3, passed := 0, 0
	for _, r := range list {
		if r.Store == storeS3 {
			onS3++
			if r.Outcome == outcomePass {
				passed++
			}
		}
	}
	fmt.Fprintf(&b, "Runs with the archive on an S3 store (versitygw): %d, of which %d passed; the others had it in files.\n", onS3, passed)
	var flow, lag, slowest []float64
	for _, r := range list {
		if r.Outcome == outcomePass && len(r.Faults) > 0 {
			flow, lag, slowest = append(flow, r.Flow), append(lag, r.Lag), append(slowest, r.Slowest)
		}
	}
	fmt.Fprintf(&b, "After the last heal an event was stored again within %.1f s in the median and %.1f s at most, and both classes were decided beyond the heal within %.1f s and %.1f s, as far as the log says, which tells of ticks without a change every 10 s. The slowest change of an alert while faults were made was stored %.1f s after its tick in the median of the runs, and %.1f s at most.\n",
		quantile(flow, 0.5), quantile(flow, 1), quantile(lag, 0.5), quantile(lag, 1), quantile(slowest, 0.5), quantile(slowest, 1))
	b.WriteString("\n" + others(all))
	return b.String()
}

// others sums up the lines of other programs.
func others(all []Record) string {
	var b strings.Builder
	for _, kind := range []struct{ name, title, good string }{
		{"simulation", "Simulated runs", "pass"}, {"power", "Power cuts", "held"}, {"corruption", "Damaged files of a broker", "held"},
	} {
		good, bad := 0, 0
		for _, r := range all {
			switch n := max(r.Runs, 1); {
			case r.Kind != kind.name:
			case r.Outcome == kind.good:
				good += n
			default:
				bad += n
			}
		}
		fmt.Fprintf(&b, "- %s: %d held, %d did not.\n", kind.title, good, bad)
	}
	return b.String()
}

func (c *Counts) add(o Counts) {
	c.Events += o.Events
	c.Stored += o.Stored
	c.Faults += o.Faults
	c.Messages += o.Messages
	c.Transitions += o.Transitions
	c.Notifications += o.Notifications
	c.Repeats += o.Repeats
	c.Lost += o.Lost
	c.Invented += o.Invented
	c.Twice += o.Twice
	c.Missed += o.Missed
	c.Phantom += o.Phantom
}

// quantile of a list by the nearest rank; 0 of none.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[max(0, int(q*float64(len(list))+0.999999)-1)]
}

// documented is a document with the present summary and table of bugs in it.
func documented(doc string, list []Record) (string, error) {
	doc, err := place(doc, sumBegin, sumEnd, summary(list))
	if err != nil {
		return "", err
	}
	return place(doc, bugsBegin, bugsEnd, bugTable())
}

// place puts a text in the place of what is between two marks.
func place(doc, begin, end, text string) (string, error) {
	before, rest, ok := strings.Cut(doc, begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		return "", fmt.Errorf("%s: no place between %q and %q", docFile, begin, end)
	}
	return before + begin + "\n" + text + end + after, nil
}

// sumUp writes what the ledger comes to into the document.
func sumUp() error {
	list, err := readLedger[Record](faultlog.File)
	if err != nil {
		return err
	}
	doc, err := os.ReadFile(docFile)
	if err != nil {
		return err
	}
	text, err := documented(string(doc), list)
	if err != nil {
		return err
	}
	return os.WriteFile(docFile, []byte(text), 0o644)
}
