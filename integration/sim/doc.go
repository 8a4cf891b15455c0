// The sim runs the real machines in one goroutine: lanes that publish, reducers,
// evaluators, planners and senders, archivers, and the keeper of the control log.
// Its broker loses, delays, repeats and refuses, its clocks step back and its reads
// are stale; its object store fails, loses answers, and stores what nobody waits
// for any more; compactors remove objects under those who read or archive; processes
// die, sleep, and live on beside their successors.
//
// At the end of a run what was decided is compared with four references: the naive
// oracle, an undisturbed run over the same streams with other commit boundaries, a
// backtest that sees only what the archive kept, and the alerts that evaluators
// show. What was planned is compared with a planner that met no fault, what was
// told with what is recorded, the archive with the streams, byte for byte, and what
// publishers were told with what is stored. Then the broker loses the tail of a stream
// and gives the sequences again: who had read what is gone says so and names it, nothing
// counts twice, and the archive has both. Another stream is deleted and made again, under
// reducers that say so and archivers that begin an epoch.
//
//	go run ./integration/sim -seeds 300         # runs with consecutive seeds
//	go run ./integration/sim -seed 288 -v       # one run, and what it met
//
// One seed makes every choice: a run has no sockets, no timers and not the machine's
// clock, and the same seed gives the same run, bit for bit, on every machine with the
// same code. A run that fails is made small: choices come out quiet, in ever smaller
// parts, as long as it still fails in the same way. What is left is printed.
package main
