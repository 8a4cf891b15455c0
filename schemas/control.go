package schemas

import "time"

// Deployment holds what is fixed when a deployment is created. It is the
// genesis message of the control log.
type Deployment struct {
	Engine   int           `json:"engine"`   // version of fold and decide
	Tick     time.Duration `json:"tick_ns"`  // length of a tick, 100 ms and more; 1 s
	Lateness int64         `json:"lateness"` // ticks that late events are waited for; 1
	Delay    int64         `json:"delay"`    // ticks after which a control entry takes effect; 5
}

// Engine is the version of decoding, folding and deciding that this build has.
const Engine = 1

// DefaultDeployment is what apply creates unless told otherwise.
var DefaultDeployment = Deployment{Engine: Engine, Tick: time.Second, Lateness: 1, Delay: 5}

// ControlEntry is one message of the control log. Exactly one field is set, or
// none: an empty entry is a tick, which exists for its timestamp.
type ControlEntry struct {
	Deployment *Deployment      `json:"deployment,omitempty"` // genesis, the first message only
	Rules      *RuleSource      `json:"rules,omitempty"`      // replaces the rule set in force
	Open       []Partition      `json:"open,omitempty"`       // partitions opened; may come with Rules
	Snapshot   *ControlSnapshot `json:"snapshot,omitempty"`   // everything before it
}

// RuleSource is a rule set as its author wrote it.
type RuleSource struct {
	Files []RuleFile `json:"files"`
	By    string     `json:"by,omitempty"` // who applied it
}

// RuleFile is one file of a rule set.
type RuleFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// ControlSnapshot is the control log folded up to and including sequence Seq,
// so that what is before the snapshot may be purged.
type ControlSnapshot struct {
	Seq        uint64              `json:"seq"`
	Arrival    int64               `json:"arrival"` // running maximum at Seq, Unix ns
	Deployment Deployment          `json:"deployment"`
	Revisions  []Revision          `json:"revisions"` // ascending by Tick
	Open       map[Partition]int64 `json:"open"`      // tick from which the partition is open
}

// Revision is a rule set and the tick from which it is in force.
type Revision struct {
	Tick  int64      `json:"tick"`
	Rules RuleSource `json:"rules"`
	// Born gives, per rule fingerprint, the tick at which its current unbroken
	// run began.
	Born map[string]int64 `json:"born"`
}
