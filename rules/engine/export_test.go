package engine

import "github.com/dermai/millrace/schemas"

// The arithmetic of folds and windows, for its tests.
var (
	Observe  = observe
	Note     = note
	Merge    = merge
	Withdraw = withdraw
	Value    = value
	Pack     = pack
	Unpack   = packed.unpack
)

type Exhibits = exhibits

func (list *exhibits) Enter(pane int64, evidence []schemas.Evidence) { list.enter(pane, evidence) }
func (list *exhibits) Leave(tick int64)                              { list.leave(tick) }
func (list *exhibits) Shown() []schemas.Evidence                     { return list.shown() }
