package schemas

// HeaderType says what a message of a fenced subject is, so that a reader can
// pass over what it does not want without decoding it.
const HeaderType = "Millrace-Type"

// The types of messages on fenced subjects.
const (
	TypeGenesis      = "genesis"      // the first message of a fenced subject; the control log's carries the Deployment
	TypeClaim        = "claim"        // a new writer takes the subject; carries no output
	TypePartial      = "partial"      // Partial; a reducer's claim is one without rows
	TypeControl      = "control"      // ControlEntry
	TypeDecision     = "decision"     // Decision
	TypeCheckpoint   = "checkpoint"   // CheckpointPart
	TypeNotification = "notification" // Notification
	TypeDelivery     = "delivery"     // Delivery
)

// HeaderCheckpoint, on every message of alerts.<class> and notify.<receiver>,
// names the last whole checkpoint before it and the one before that by the
// sequences of their first parts: "<last>,<previous>", 0 for none. Those of an
// evaluator are in CHECKPOINTS, those of a planner in NOTIFY.
const HeaderCheckpoint = "Millrace-Checkpoint"

// HeaderCovers, on every message of notify.<receiver> but the genesis, says how
// far the receiver is planned: "<seq>,<n>", the first n notifications that
// follow from message seq of ALERTS, and all that follow from those before it.
const HeaderCovers = "Millrace-Covers"

// HeaderMark, beside HeaderCovers, tells that message of ALERTS from another of its
// sequence: "<created>,<time>", see Mark.
const HeaderMark = "Millrace-Mark"
