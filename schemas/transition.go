package schemas

// State of an alert. Inactive alerts are not kept.
type State string

// The states of an alert.
const (
	Inactive State = "inactive"
	Pending  State = "pending" // the condition holds, not yet for long enough
	Firing   State = "firing"
	Cooling  State = "cooling" // firing, the condition no longer holds, keep_firing_for runs
)

// Transition is one change of an alert's state, decided at a tick. It is a pure
// function of the stored events and the rules: no clock, no owner, no commit
// number is in it.
type Transition struct {
	Alert    string `json:"alert"`    // "<rule>{a=x,b=y}"
	Rule     string `json:"rule"`     // the rule's alert name
	Instance string `json:"instance"` // <fingerprint>@<born>
	Group    string `json:"group,omitempty"`
	Tick     int64  `json:"tick"`
	Time     int64  `json:"time"` // end of the tick, Unix ns
	From     State  `json:"from"`
	To       State  `json:"to"`
	Since    int64  `json:"since"` // tick at which the To state began (for pending→firing: this tick)
	// Active is the tick at which the alert left inactive, 0 when it returns there
	// from pending.
	Active int64 `json:"active,omitzero"`
	// Shadow says that the rule is in shadow: nobody is told. A rule that comes out
	// of shadow, or goes into it, changes each of its alerts from a state to itself.
	Shadow bool `json:"shadow,omitzero"`
	// Suspect says that a partition of the class lost messages (Loss) whose events may
	// have been in a window that this change rests on: with them it might not have
	// come, or come otherwise.
	Suspect bool   `json:"suspect,omitzero"`
	Why     string `json:"why,omitempty"` // "rule gone", "no data", "rule live", "rule shadow", "" for the condition
	N       int64  `json:"n"`
	// Value is nil where the window is empty and the aggregate has none.
	Value       *float64          `json:"value,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Evidence    []Evidence        `json:"evidence,omitempty"`
}

// Quiet tells that nobody is notified of the change.
func (t *Transition) Quiet() bool {
	switch {
	case t.From == t.To: // who was told of an alert learns that it is in shadow now, and the other way round
		return t.To != Firing && t.To != Cooling
	case t.Shadow:
		return true
	case t.To == Firing:
		return t.From == Cooling
	case t.To == Inactive:
		return t.From == Pending
	}
	return true
}

// Admission is a group let in, or released, under a rule's cap.
type Admission struct {
	Instance string `json:"in"`
	Group    string `json:"g"`
}

// Decision is one commit of a class's evaluator: all changes of the ticks after
// the previous decision up to Tick.
type Decision struct {
	Class Class `json:"class"`
	Tick  int64 `json:"tick"`
	// Done says that Tick is decided to its end. A tick that does not fit one
	// message is split: its first parts are not done and name in UpTo the key
	// (instance|group) of their last transition.
	Done        bool         `json:"done"`
	UpTo        string       `json:"upto,omitempty"`
	Transitions []Transition `json:"transitions,omitempty"`
	Admitted    []Admission  `json:"admitted,omitempty"` // first part, marked with Tick
	Released    []Admission  `json:"released,omitempty"` // last part
}

// CheckpointPart is one piece of an evaluator's or planner's whole state at a
// tick. Parts are consecutive messages of a subject; a checkpoint counts only when
// its last part is stored.
type CheckpointPart struct {
	Tick int64  `json:"tick"`
	Part int    `json:"part"` // 1..Of
	Of   int    `json:"of"`
	Data []byte `json:"data"` // a slice of the packed state
}
