package engine

// The arithmetic of folds, for its tests.
var (
	Observe = observe
	Note    = note
	Merge   = merge
	Value   = value
)
