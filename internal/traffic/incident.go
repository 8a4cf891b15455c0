package traffic

import "time"

// Trouble is what goes wrong in an incident. Each one is what a default rule
// looks for.
type Trouble string

// The troubles.
const (
	Errors      Trouble = "errors"       // a third of the requests fails
	Latency     Trouble = "latency"      // requests take seconds
	SlowQueries Trouble = "slow queries" // queries take seconds
	CPU         Trouble = "cpu"          // the machine is busy
	Pool        Trouble = "pool"         // the connection pool is used up
	Backup      Trouble = "backup"       // a backup fails
)

// Troubles lists every trouble.
var Troubles = []Trouble{Errors, Latency, SlowQueries, CPU, Pool, Backup}

// Incident is trouble of one service for a while.
type Incident struct {
	Trouble Trouble
	Service string
	Start   int64 // Unix ns
	End     int64 // Unix ns
}

// Incident tells the incident that goes on at the time of the last line, or
// else the next one.
func (g *Generator) Incident() Incident { return g.incident }

// plan draws the next incident, some time after now.
func (g *Generator) plan(now int64) {
	if len(g.troubles) == 0 {
		g.troubles = append(g.troubles, Troubles...)
		g.rand.Shuffle(len(g.troubles), func(i, j int) { g.troubles[i], g.troubles[j] = g.troubles[j], g.troubles[i] })
	}
	g.service = &services[g.rand.IntN(len(services))]
	start := now + int64(g.config.Calm) + g.rand.Int64N(int64(g.config.Calm))
	g.incident = Incident{
		Trouble: g.troubles[0],
		Service: g.service.name,
		Start:   start,
		End:     start + int64(g.config.Length),
	}
	g.troubles = g.troubles[1:]
}

// Config of a generator. The zero value is useful.
type Config struct {
	Seed uint64
	// Calm is the least time between incidents; at most it is twice as long.
	// 0: 10 s.
	Calm time.Duration
	// Length of an incident. 0: 25 s.
	Length time.Duration
}
