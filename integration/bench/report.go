package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// report is everything that was measured. Parts that did not run are nil.
type report struct {
	Machine   string           `json:"machine"`
	Rate      int              `json:"rate"`
	Publish   *publishResult   `json:"publish,omitempty"`
	Main      *mainResult      `json:"main,omitempty"`
	Door      *mainResult      `json:"door,omitempty"`
	Latency   *latencyResult   `json:"latency,omitempty"`
	Handover  *handoverResult  `json:"handover,omitempty"`
	Outage    *outageResult    `json:"outage,omitempty"`
	Nodes     *nodesResult     `json:"nodes,omitempty"`
	Groups    *groupsResult    `json:"groups,omitempty"`
	Evaluator *evaluatorResult `json:"evaluator,omitempty"`
}

// machine says where this runs, and what else does.
func machine() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.TrimSpace(strings.TrimLeft(line, "\t :"))
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown")
	}
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d × %s, %s, %s; load average before: %s",
		runtime.NumCPU(), model, runtime.Version(), time.Now().UTC().Format("2006-01-02 15:04 MST"), first)
}

// lost says what became of events that are not everywhere once, and of partitions
// that moved without need.
func (r *report) lost() error {
	var faults []error
	check := func(name string, c count) {
		if c.Reduced != c.Published || c.Archived != c.Published {
			faults = append(faults, fmt.Errorf("%s: %d events published, %d reduced, %d archived", name, c.Published, c.Reduced, c.Archived))
		}
	}
	if r.Publish != nil {
		check("publish", r.Publish.count)
	}
	for _, m := range []*mainResult{r.Main, r.Door} {
		if m != nil {
			check("main job via "+m.Via, m.count)
		}
	}
	if r.Outage != nil {
		check("outage", r.Outage.count)
	}
	if r.Nodes != nil {
		check("nodes", r.Nodes.count)
	}
	if h := r.Handover; h != nil && h.Moved > 0 {
		faults = append(faults, fmt.Errorf("%d partitions moved that were another's", h.Moved))
	}
	return errors.Join(faults...)
}

// table writes rows whose cells are separated by tabs as a Markdown table.
func table(out io.Writer, head string, rows ...string) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.TabIndent)
	line := func(s string) { fmt.Fprintf(w, "| %s |\n", strings.ReplaceAll(s, "\t", "\t| ")) }
	line(head)
	line("---" + strings.Repeat("\t---", strings.Count(head, "\t")))
	for _, r := range rows {
		line(r)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func (r *report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s\n\n", r.Machine)
	var faults []error
	if p := r.Publish; p != nil {
		fmt.Fprintf(out, "### Each stage alone, as fast as it can\n\n")
		faults = append(faults, printMoved(out, append(p.Stages, p.Plain...)), printCount(out, p.count))
	}
	for _, m := range []*mainResult{r.Main, r.Door} {
		if m != nil {
			fmt.Fprintf(out, "### The main job at %s events/s, published via the %s\n\n", thousands(float64(r.Rate)), m.Via)
			faults = append(faults, m.print(out), printCount(out, m.count))
		}
	}
	if l := r.Latency; l != nil {
		fmt.Fprintf(out, "### From Publish to the stored decision\n\n")
		faults = append(faults, table(out, "traffic\tsamples\tp50\tp99\tmost", l.Idle.row("none"), l.Busy.row(thousands(float64(r.Rate))+" events/s")))
	}
	if h := r.Handover; h != nil {
		fmt.Fprintf(out, "### From the end of a processor to the claim of another\n\n")
		faults = append(faults, h.print(out))
	}
	if o := r.Outage; o != nil {
		fmt.Fprintf(out, "### From the return of a broker that was away for %s\n\n", o.Length)
		faults = append(faults, o.print(out), printCount(out, o.count))
	}
	if n := r.Nodes; n != nil {
		fmt.Fprintf(out, "### From the loss of one of three servers\n\n")
		faults = append(faults, n.print(out), printCount(out, n.count))
	}
	if g := r.Groups; g != nil {
		fmt.Fprintf(out, "### Memory of many groups\n\n")
		faults = append(faults, g.print(out))
	}
	if e := r.Evaluator; e != nil {
		fmt.Fprintf(out, "### What one evaluator carries\n\n")
		faults = append(faults, e.print(out))
	}
	return errors.Join(faults...)
}

func printCount(out io.Writer, c count) error {
	return table(out, "published\treduced\tarchived", fmt.Sprintf("%d\t%d\t%d", c.Published, c.Reduced, c.Archived))
}

func printMoved(out io.Writer, all []moved) error {
	var rows []string
	for _, m := range all {
		peak := int64(0)
		for _, p := range m.Parts {
			if p.Name == "client" {
				peak = p.Peak
			}
		}
		memory := ""
		if peak > 0 {
			memory = mebibytes(peak)
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f\t%s", m.What, thousands(m.perSecond()),
			float64(m.Frames)/m.Elapsed.Seconds(), float64(m.Events)/float64(m.Frames), float64(m.Bytes)/1e6/m.Elapsed.Seconds(),
			m.cpu("client"), m.cpu("nats-server"), memory))
	}
	return table(out, "what\tevents/s\tframes/s\tevents/frame\tMB/s\tCPU s/M client\tCPU s/M server\tpeak MiB client", rows...)
}

func (m *mainResult) print(out io.Writer) error {
	e := m.Events
	events := float64(e.Events)
	fmt.Fprintf(out, "%s events/s for %.1f s; reduced to the last %.2f s after the last was stored.\n",
		thousands(e.perSecond()), e.Elapsed.Seconds(), m.Drained.Seconds())
	fmt.Fprintf(out, "Bytes per event: %.0f as JSON, %.1f in the streams, %.1f in the archive; %.0f events a frame.\n\n",
		float64(m.Text)/events, float64(e.Bytes)/events, float64(m.Archive)/events, events/float64(e.Frames))
	var rows []string
	for _, p := range e.Parts {
		peak := ""
		if p.Peak > 0 {
			peak = mebibytes(p.Peak)
		}
		rows = append(rows, fmt.Sprintf("%s\t%.2f\t%.0f %%\t%s", p.Name, e.cpu(p.Name), 100*p.CPU.Seconds()/e.Elapsed.Seconds(), peak))
	}
	rows = append(rows, fmt.Sprintf("together\t%.2f\t\t", e.cpu("")))
	err := table(out, "process\tCPU s/M events\tof one core\tpeak MiB", rows...)
	rows = nil
	for i, name := range []string{"first", "second", "last"} {
		third := m.Lag[len(m.Lag)*i/3 : len(m.Lag)*(i+1)/3]
		if len(third) == 0 {
			continue
		}
		var behind, open, most int64
		var decided float64
		for _, l := range third {
			behind += l.Published - l.Reduced
			most = max(most, l.Published-l.Reduced)
			decided += l.Decided
			open += l.Archived
		}
		n := len(third)
		rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%.2f\t%d", name, behind/int64(n), most, decided/float64(n), open/int64(n)))
	}
	return errors.Join(err,
		table(out, "third of the run\tevents stored, not reduced (mean)\t(most)\ttick overdue, s\tmessages in no object yet", rows...),
		printMoved(out, m.Plain))
}

func (l latencies) row(traffic string) string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%s", traffic, len(l), ms(l.quantile(0.5)), ms(l.quantile(0.99)), ms(l.quantile(1)))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

// thousands groups the digits of a whole number.
func thousands(x float64) string {
	s := fmt.Sprintf("%.0f", x)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
