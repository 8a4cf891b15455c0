package proof

import (
	"cmp"
	"fmt"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/schemas"
)

// Report is what a run found. Fields are only ever added.
type Report struct {
	Format int   `json:"format"` // 1
	Since  int64 `json:"since"`  // arrivals looked at, Since <= arrival < Until, Unix ns; 0: no bound
	Until  int64 `json:"until"`
	Ended  int64 `json:"ended"` // when the run was over, Unix ns

	Findings []Finding `json:"findings"`
	// More are findings beyond the first 10,000.
	More int `json:"more,omitzero"`
	// Unchecked says what could not be looked at, and why.
	Unchecked []string `json:"unchecked,omitempty"`

	Streams    []Stream    `json:"streams"`
	Publishers []Publisher `json:"publishers"` // by day, kind and service
	// Lanes have no final frame: what they sent behind their last frame is unknown.
	Lanes []Lane `json:"lanes"`
	// Complete are lanes that ended with a final frame and lack nothing; Begun those
	// whose beginning was not looked at; Forgotten those of Lanes that were too many
	// to remember.
	Complete  uint64 `json:"complete"`
	Begun     uint64 `json:"begun,omitzero"`
	Forgotten uint64 `json:"forgotten,omitzero"`
	// Spoke is when those last spoke who are expected to.
	Spoke []Spoke        `json:"spoke,omitempty"`
	Heads []archive.Head `json:"heads"` // of the archive's chains, as they were
}

// OK tells that nothing is missing or wrong, as far as it was looked at.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// The kinds of findings.
const (
	Archive    = "archive"    // the archive is not as it was written, or lacks what a stream has
	Lost       = "lost"       // sequences that neither the archive nor the stream has
	Frames     = "frames"     // of a lane that are not there, there twice, or not whole
	Broker     = "stream"     // the stream is not what it was
	Quarantine = "quarantine" // an event is neither readable nor in quarantine, or only there
	Silent     = "silent"     // a publisher said less than it should, or than it had
)

// Finding is something that is missing or wrong. A range is of a lane's counters
// if Lane is set, and otherwise of the stream's sequences.
type Finding struct {
	Kind   string `json:"kind"`
	Where  string `json:"where"` // an object's key, a stream, a lane's subject, or a publisher
	Stream string `json:"stream,omitempty"`
	Lane   string `json:"lane,omitempty"`
	From   uint64 `json:"from,omitzero"`
	To     uint64 `json:"to,omitzero"`
	Since  int64  `json:"since,omitzero"` // when it arrived or should have, Unix ns
	Until  int64  `json:"until,omitzero"`
	What   string `json:"what"` // a sentence
}

func (f Finding) String() string { return f.Where + ": " + f.What }

// Stream sums up what was looked at of a stream.
type Stream struct {
	Stream string `json:"stream"`
	// Messages = Archived + Waiting, ticks too. Waiting are in the stream alone.
	Messages uint64 `json:"messages"`
	Archived uint64 `json:"archived"`
	Waiting  uint64 `json:"waiting"`
	Ticks    uint64 `json:"ticks"`
	Frames   uint64 `json:"frames"` // of lanes, final frames too
	Events   uint64 `json:"events"` // everybody's
	// Quarantined are those of the events that are in quarantine.
	Quarantined uint64 `json:"quarantined"`
}

// Publisher is who spoke on a day.
type Publisher struct {
	Day     string       `json:"day"` // UTC, of arrival
	Kind    schemas.Kind `json:"kind"`
	Service string       `json:"service"`
	Frames  uint64       `json:"frames"` // messages that are no frames of lanes too
	Events  uint64       `json:"events"`
}

func (p *Publisher) compare(q *Publisher) int {
	return cmp.Or(cmp.Compare(p.Day, q.Day), cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.Service, q.Service))
}

// Lane is a lane without a final frame.
type Lane struct {
	Lane    string `json:"lane"`    // its subject
	Counter uint64 `json:"counter"` // of its last frame
	Batch   uint64 `json:"batch"`   // of that: Counter, but where a lane came from a spool
	Acked   uint64 `json:"acked"`   // up to here its publisher was told that they are stored
	Seq     uint64 `json:"seq"`     // of its last frame
	Arrival int64  `json:"arrival"` // of that, Unix ns
}

func (l Lane) String() string {
	return fmt.Sprintf("%s: unknown after frame %d (sequence %d, %s)", l.Lane, l.Counter, l.Seq, clock(l.Arrival))
}

// Expected is a publisher that must speak.
type Expected struct {
	Kind    schemas.Kind
	Service string
	Every   time.Duration
}

func (e Expected) String() string { return fmt.Sprintf("%s %s", e.Service, e.Kind) }

// Spoke is when an expected publisher last spoke.
type Spoke struct {
	Kind    schemas.Kind `json:"kind"`
	Service string       `json:"service"`
	Last    int64        `json:"last"` // Unix ns
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
