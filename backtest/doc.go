// Package backtest decides archived events again: by the rules that were in
// force, or by others.
//
// The invariant: with the rules of the control log the transitions are those of
// ALERTS, byte for byte, whatever the live system went through. The fold and the
// decisions are package engine's, as live; what decides is all in the archive: the
// events with the running maximum of their arrival, ticks included, and the
// control log.
package backtest
