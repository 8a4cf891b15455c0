// Package fence is the one idea that carries Millrace: the output message is
// the checkpoint and the fence.
//
// The invariant: a subject has at most one writer whose appends succeed. A
// stage appends its output to a subject that it owns by compare-and-swap on the
// subject's last sequence, and the message says which input it covers. So no
// lease decides correctness, no checkpoint can disagree with the output, and a
// process that wakes up late has its append refused by the server.
//
// A stage uses a Writer:
//
//	w := fence.NewWriter(log, "partials.0", claims)
//	head, err := w.Load(ctx)          // position and state are in the head
//	err = w.Append(ctx, claim)        // from here on every older writer is fenced
//	for {
//		err = w.Append(ctx, output)   // ErrUnknown: Settle before anything else
//	}
//
// A lane, which may read nothing, uses a Lane: it settles an unknown outcome by
// sending the same bytes again.
package fence
