package schemas

// Notification is one message to one receiver: a group of alerts that changed.
// Its ID is the same on every attempt.
type Notification struct {
	ID       string `json:"id"` // <receiver>/<group>/<class>/<tick>, hashed to 32 hex digits
	Receiver string `json:"receiver"`
	GroupKey string `json:"group_key"`
	Class    Class  `json:"class"`
	Tick     int64  `json:"tick"`
	Time     int64  `json:"time"` // end of the tick, Unix ns
	// Status is firing while any alert of the group fires, otherwise resolved.
	Status string  `json:"status"`
	Reason string  `json:"reason"` // "new", "changed", "repeat", "resolved", "digest"
	Alerts []Alert `json:"alerts"`
	// Truncated counts alerts of the group that were left out of Alerts.
	Truncated int `json:"truncated,omitzero"`
	// Thread is the ID of the notification that told of the group first since it
	// was last at rest, also in that notification itself. Receivers keep the
	// messages of one thread together.
	Thread string `json:"thread,omitempty"`
	// Digest counts what a notification with the reason digest tells of.
	Digest *Digest `json:"digest,omitempty"`
	// Covers is the sequence of ALERTS up to which the receiver is planned.
	Covers uint64 `json:"covers"`
}

// Digest sums up notifications that are told as one. An alert counts once, as it
// was told last.
type Digest struct {
	Notifications int `json:"notifications"`
	Firing        int `json:"firing"`
	Resolved      int `json:"resolved"`
	// Rules are those with the most alerts, the most first.
	Rules      []DigestRule `json:"rules,omitempty"`
	OtherRules int          `json:"other_rules,omitzero"` // how many are not in Rules
}

// DigestRule counts the alerts of a rule.
type DigestRule struct {
	Rule     string `json:"rule"`
	Firing   int    `json:"firing,omitzero"`
	Resolved int    `json:"resolved,omitzero"`
}

// Alert is an alert as a receiver sees it.
type Alert struct {
	Alert       string            `json:"alert"`
	Rule        string            `json:"rule"`
	Status      string            `json:"status"`        // firing, resolved
	Starts      int64             `json:"starts"`        // Unix ns
	Ends        int64             `json:"ends,omitzero"` // Unix ns; resolved only
	N           int64             `json:"n"`
	Value       *float64          `json:"value,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Evidence    []Evidence        `json:"evidence,omitempty"`
	Why         string            `json:"why,omitempty"`
	Suspect     bool              `json:"suspect,omitzero"` // of the change that it is told for, as Transition's
}

// Outcomes of an attempt to deliver.
const (
	DeliveryStarted   = "started"   // written before the send
	DeliveryDelivered = "delivered" // the receiver said yes
	DeliveryRetry     = "retry"     // the receiver said not now
	DeliveryAmbiguous = "ambiguous" // no answer: it may or may not have arrived
	DeliveryRejected  = "rejected"  // the receiver said never; the notification is quarantined
)

// Delivery is one message on deliveries.<receiver>: an attempt began, or ended.
type Delivery struct {
	Notification string `json:"notification"`
	Seq          uint64 `json:"seq"` // of the notification in NOTIFY
	// From is the sequence of the first notification of a digest, which tells all
	// of the receiver's up to Seq. 0: it is no digest.
	From uint64 `json:"from,omitzero"`
	// Created and Stored tell message Seq from another of that sequence: see Mark.
	Created int64 `json:"created,omitzero"`
	Stored  int64 `json:"stored,omitzero"`
	// Sent holds when the attempts of the last minute began that arrived or may
	// have, Unix ns; this one included while its outcome is unknown.
	Sent      []int64 `json:"sent,omitempty"`
	Attempt   int     `json:"attempt"`
	Outcome   string  `json:"outcome"`
	Detail    string  `json:"detail,omitempty"`    // the receiver's answer, without secrets
	Reference string  `json:"reference,omitempty"` // what the receiver calls it, such as a Slack ts
}

// Quarantined is something that could not be processed, with the reason and
// where its bytes are.
type Quarantined struct {
	// ID is <stream>/<seq>/<index>, or the notification's, with the consumer's name
	// before it and /r<Redriven> behind it where there is one.
	ID     string `json:"id"`
	Stage  string `json:"stage"` // publish, reduce, send, consume
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Stream string `json:"stream"`
	Seq    uint64 `json:"seq"`
	Index  int    `json:"index"` // event within the frame; -1: the whole frame
	Data   []byte `json:"data"`  // its bytes, at most QuarantineBytes of them
	Size   int    `json:"size"`  // length of all its bytes

	Subject  string `json:"subject,omitempty"`  // on which it was stored
	Arrival  int64  `json:"arrival,omitzero"`   // when, Unix ns
	Consumer string `json:"consumer,omitempty"` // whose handler refused it
	Redriven int    `json:"redriven,omitzero"`  // times that it was taken out of quarantine before
}

// Stages of quarantined items.
const (
	StagePublish = "publish" // refused at a door, or in a followed file
	StageReduce  = "reduce"
	StageSend    = "send"
	StageConsume = "consume"
)

// QuarantineBytes bounds how much of a quarantined item is copied; the rest is
// where Stream and Seq say.
const QuarantineBytes = 64 << 10

// NotifySubject is the subject on which the receiver's planner writes its
// notifications. Names of receivers are tokens already.
func NotifySubject(receiver string) string { return "notify." + receiver }

// DeliveriesSubject is the subject on which the receiver's sender writes what it
// tries and what becomes of it.
func DeliveriesSubject(receiver string) string { return "deliveries." + receiver }
