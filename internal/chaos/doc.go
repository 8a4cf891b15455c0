// Package chaos are the places where a test may let a process die, and the bugs
// that it may plant to see whether its checks find them.
//
// The invariant: without the build tag chaos none of it exists. Die is empty and
// Bug is the constant false, so that the compiler removes what stands behind it.
//
// With the tag, a process dies by kill -9 of itself when MILLRACE_CHAOS_DIE names
// a place, as "append PARTIALS after 3": at its third append to PARTIALS, after
// it was stored. MILLRACE_CHAOS_BUG names the bug that is planted.
package chaos

// Steps that are durable once they are done. Each is named before and after.
const (
	BeforeAppend = "append before"
	AfterAppend  = "append after"
	BeforePut    = "put before"
	AfterPut     = "put after"
	BeforeSend   = "send before"
	AfterSend    = "send after"
)
