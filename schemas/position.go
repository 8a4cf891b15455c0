package schemas

import "cmp"

// Position is how far a partition has been read: the first Index events of the
// frame with sequence Seq, and every frame before it. The zero position is the
// beginning.
type Position struct {
	Seq   uint64 `json:"seq"`
	Index int    `json:"index"` // events of frame Seq that are consumed
}

// Mark tells a message of a stream from another that was given its sequence: by a
// stream that was made again, or one that lost its tail. The zero Mark is no message.
type Mark struct {
	Created int64  `json:"created"`       // of the stream, Unix ns
	Seq     uint64 `json:"seq,omitzero"`  // of the message
	Time    int64  `json:"time,omitzero"` // when it was stored, Unix ns; 0: not known
}

// Order is the total order of events that ties, evidence and "last" are decided
// by: effective event time, then partition, sequence and index.
type Order struct {
	Time      int64     `json:"t"` // min(event time, arrival), Unix ns
	Partition Partition `json:"p"`
	Seq       uint64    `json:"s"`
	Index     int       `json:"i"`
}

// Compare orders a before b with a negative result.
func (a Order) Compare(b Order) int {
	return cmp.Or(
		cmp.Compare(a.Time, b.Time),
		cmp.Compare(a.Partition, b.Partition),
		cmp.Compare(a.Seq, b.Seq),
		cmp.Compare(a.Index, b.Index),
	)
}
