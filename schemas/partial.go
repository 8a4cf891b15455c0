package schemas

// Partial is one commit of a partition's reducer: what the events in (From, To]
// add to every window, and how far the partition's time has come. Commits of a
// partition form a chain: From is the To before it, ArrivalFrom the ArrivalTo.
type Partial struct {
	Partition Partition `json:"partition"`
	Created   int64     `json:"created"` // creation time of the stream that was read, Unix ns
	From      Position  `json:"from"`
	To        Position  `json:"to"`
	// Control is the last entry of the control log that the rules were taken from.
	Control Mark `json:"control,omitzero"`
	// ToID identifies the frame To.Seq (FrameID), so that a stream which lost
	// its tail and used the sequence again is noticed. "" while To is zero.
	ToID string `json:"to_id,omitempty"`
	// ArrivalFrom and ArrivalTo are the running maximum of the broker's
	// timestamps at From and To, Unix ns. ArrivalTo is the frontier: every
	// message with a smaller arrival is covered.
	ArrivalFrom int64 `json:"a_from"`
	ArrivalTo   int64 `json:"a_to"`
	Rows        []Row `json:"rows,omitempty"` // ascending by RowKey
	// Midway says that frame To.Seq has more events than To.Index.
	Midway bool `json:"midway,omitzero"`
	// Lost counts the messages that were gone when they were to be read: those of
	// Losses, which says where they were.
	Lost   uint64 `json:"lost,omitzero"`
	Losses []Loss `json:"losses,omitempty"` // in order
	// Events counts the events that were read; TooLate those that no window
	// could hold any more when they arrived, per rule instance.
	Events  int64            `json:"events,omitzero"`
	TooLate map[string]int64 `json:"too_late,omitempty"`
	// Mismatched counts, per rule instance, conditions that were false because
	// an attribute was missing or of another type.
	Mismatched map[string]int64 `json:"mismatched,omitempty"`
}

// Loss is a place between two messages of a partition where others are gone: they
// expired unread, or the stream lost what it had acknowledged. From and To are the
// running maximum of the timestamps before and behind, Unix ns; what is gone arrived
// between. Where a message tells of a loss elsewhere (LostBefore), both are its own.
type Loss struct {
	Messages uint64 `json:"n"` // as far as sequences tell, at least one
	From     int64  `json:"a_from"`
	To       int64  `json:"a_to"`
}

// RowKey says where a row belongs.
type RowKey struct {
	Instance string `json:"in"`          // rule instance, <fingerprint>@<born>
	Group    string `json:"g,omitempty"` // "" for a rule without by; see GroupOf
	Pane     int64  `json:"e"`           // last tick of the pane
	Visible  int64  `json:"v"`           // first tick whose window holds the row
}

// Row is what some events of one partition add to one pane.
type Row struct {
	RowKey
	Fold Fold `json:"f"`
}

// Fold is the mergeable summary of a set of events. Merging is commutative and
// associative to the bit. Only what the rule's aggregate needs is filled.
type Fold struct {
	N        int64      `json:"n"`            // samples
	Hits     int64      `json:"h,omitzero"`   // ratio: samples whose condition held
	Sum      *Fixed     `json:"s,omitempty"`  // sum, avg
	Min      *float64   `json:"lo,omitempty"` // min
	Max      *float64   `json:"hi,omitempty"` // max
	Last     *Last      `json:"l,omitempty"`  // last
	Buckets  []Bucket   `json:"q,omitempty"`  // percentiles; ascending, counts above 0
	Evidence []Evidence `json:"ev,omitempty"` // at most EvidenceLimit, in the rule's order
}

// Fixed is a signed 128-bit fixed-point number in units of 2^-32, two's
// complement: Hi*2^64 + Lo.
type Fixed struct {
	Hi int64  `json:"hi"`
	Lo uint64 `json:"lo"`
}

// Last is the sample that is latest in Order. A condition is 1 or 0.
type Last struct {
	Order
	Value float64 `json:"x"`
}

// Bucket counts the samples of one log-linear bucket: the index is taken from
// the bits of the float (sign, exponent, top seven bits of the mantissa), so
// that no logarithm is computed and every machine agrees.
type Bucket struct {
	Index int32 `json:"b"`
	Count int64 `json:"c"`
}

// EvidenceLimit is how many events a transition may refer to.
const EvidenceLimit = 5

// Evidence refers to one event that a rule counted, with the fields that the
// rule allows to leave the house.
type Evidence struct {
	Order
	Rank   float64           `json:"r,omitzero"` // value of the rule's worst field; larger comes first
	ID     string            `json:"id,omitempty"`
	Trace  string            `json:"trace,omitempty"`
	Fields map[string]string `json:"f,omitempty"`
}
