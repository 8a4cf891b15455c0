// Package rules is the language of alert rules: it reads rule files, checks
// them, and compiles each rule into a function of one event. It does no I/O and
// asks no clock. Package engine below it turns the samples of a rule into
// panes, windows and transitions.
//
// The invariant: a compiled rule is a function of the event alone. The same
// event gives the same sample in every process, for ever.
package rules
