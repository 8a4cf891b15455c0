// Package sim runs the real reduce and evaluate machines over a broker that
// loses, delays and repeats, whose clocks step back and whose reads are stale,
// and compares what they decided with three references that no fault touched:
// the naive oracle, an undisturbed run over the same stored streams with other
// commit boundaries, and a backtest that sees only what an archive keeps.
//
// One seed makes every choice: a run is one goroutine, without sockets, timers
// or the machine's clock, and the same seed gives the same run, bit for bit.
package sim
