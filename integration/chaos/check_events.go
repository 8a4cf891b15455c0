package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// ledgered is what the writers know of each event.
type ledgered struct {
	outcome map[string]string // by id
}

func readSent(list []Sent) ledgered {
	l := ledgered{map[string]string{}}
	for _, s := range list {
		for n := range s.Count {
			id := eventID(s.Writer, s.First+n)
			if s.Outcome != tried || l.outcome[id] == "" {
				l.outcome[id] = s.Outcome
			}
		}
	}
	return l
}

// checkEvents: what was accepted is stored once, what was refused is not, nothing
// is stored twice or was invented, and each event says what it said.
func checkEvents(e *evidence, c *Counts, fault func(string, ...any)) {
	known := readSent(e.sent)
	times := map[string]int{}
	for _, class := range schemas.Classes {
		for _, m := range e.messages[class] {
			for _, event := range m.Events {
				if event == nil {
					continue
				}
				times[event.ID]++
				if event.Attributes["proof"] != proof(event.ID) || event.Attributes["patient"] != canary(e.options.Seed) {
					fault("event %s says something else than it said: %v", event.ID, event.Attributes)
				}
			}
		}
	}
	c.Events, c.Stored = len(known.outcome), len(times)
	for id, outcome := range known.outcome {
		if outcome == stored && times[id] == 0 {
			c.Lost++
			fault("event %s was accepted and is not stored", id)
		}
	}
	for id, n := range times {
		outcome, sent := known.outcome[id]
		switch {
		case !sent:
			c.Invented++
			fault("event %s is stored and nobody sent it", id)
		case outcome == refused:
			c.Invented++
			fault("event %s was refused and is stored", id)
		case n > 1:
			c.Twice++
			fault("event %s is stored %d times", id, n)
		}
	}
}

// checkLanes: the frames of a lane count from 1 without a gap, and what a writer
// was told to be stored is in the order in which it wrote.
func checkLanes(e *evidence, _ *Counts, fault func(string, ...any)) {
	known := readSent(e.sent)
	frames, last := map[string]uint64{}, map[string]string{}
	for _, class := range schemas.Classes {
		for _, m := range e.messages[class] {
			h, err := schemas.ParseFrameHeader(m.Entry.Header)
			if err != nil {
				fault("%s, message %d: %v", m.Partition.Stream(), m.Entry.Seq, err)
			}
			if h.Counter == 0 {
				continue // a tick, or a message that came without a lane
			}
			lane := m.Entry.Subject
			if frames[lane]++; h.Counter != frames[lane] {
				fault("%s: frame %d comes where %d is due", lane, h.Counter, frames[lane])
			}
			for _, event := range m.Events {
				if event == nil || known.outcome[event.ID] != stored {
					continue
				}
				writer, _, _ := strings.Cut(event.ID, "-0")
				if key := lane + " " + writer; event.ID <= last[key] {
					fault("%s: event %s comes after %s", lane, event.ID, last[key])
				} else {
					last[key] = event.ID
				}
			}
		}
	}
}

// checkQuarantine: each line that is no event is in quarantine, once, and nothing
// else is.
func checkQuarantine(e *evidence, _ *Counts, fault func(string, ...any)) {
	held := map[string]int{}
	for _, q := range e.quarantined {
		if q.Stage == schemas.StageReduce {
			held[q.ID]++
		}
	}
	for _, class := range schemas.Classes {
		for _, m := range e.messages[class] {
			for i, event := range m.Events {
				id := fmt.Sprintf("%s/%d/%d", m.Partition.Stream(), m.Entry.Seq, i)
				if event == nil && held[id] != 1 {
					fault("%s is no event, and is in quarantine %d times", id, held[id])
				}
				delete(held, id)
			}
		}
	}
	for id := range held {
		fault("%s is in quarantine and was no bad line", id)
	}
}

// checkPartials: the commits of a partition are a chain without a gap.
func checkPartials(e *evidence, _ *Counts, fault func(string, ...any)) {
	before := map[string]schemas.Partial{}
	for _, m := range e.streams[schemas.StreamPartials] {
		if m.Header[schemas.HeaderType] == schemas.TypeGenesis {
			continue
		}
		var p schemas.Partial
		if err := schemas.DecodeInto(m.Data, &p); err != nil {
			fault("message %d: %v", m.Seq, err)
			continue
		}
		last, ok := before[m.Subject]
		if ok && (p.From != last.To || p.ArrivalFrom != last.ArrivalTo || p.ArrivalTo < p.ArrivalFrom || p.Created != last.Created) {
			fault("%s: message %d covers what is behind %v at %d, but the one before it ends with %v at %d",
				m.Subject, m.Seq, p.From, p.ArrivalFrom, last.To, last.ArrivalTo)
		}
		before[m.Subject] = p
	}
}

// checkArchive: the archive holds each message of each stream once, as it is, and
// its own proof agrees.
func checkArchive(e *evidence, c *Counts, fault func(string, ...any)) {
	for _, p := range e.verify.Problems {
		fault("verify: %v", p)
	}
	for _, chain := range e.verify.Chains {
		_, stream, _ := strings.Cut(chain.Chain, "/") // class/stream/epoch
		stream, _, _ = strings.Cut(stream, "/")
		torn := e.torn(stream)
		missing := slices.DeleteFunc(slices.Clone(chain.Missing), func(m archive.Missing) bool {
			return m.Reason == archive.MissingExpired && m.To <= torn
		})
		if len(missing) > 0 {
			fault("verify: %s: %v are recorded as missing", chain.Chain, missing)
		}
	}
	for name := range e.archived {
		want, got := e.streams[name], e.archived[name]
		c.Messages += len(got)
		for len(want) > len(got) && empty(want[len(want)-1]) {
			want = want[:len(want)-1] // these alone are not worth an object
		}
		for i := range max(len(want), len(got)) {
			if i >= len(want) || i >= len(got) || !same(want[i], got[i]) {
				fault("%s: %d messages are stored and %d archived; they differ at number %d", name, len(want), len(got), i)
				break
			}
		}
	}
}

// torn is the sequence up to which a stream never had messages: those whose write
// failed for want of room on a server's disk were refused, and a server that is
// started anew then begins behind them. 0: it has its first message.
func (e *evidence) torn(stream string) uint64 {
	list := e.streams[stream]
	if len(list) == 0 || !slices.ContainsFunc(e.fired, func(f Fired) bool { return f.Fault == "full" && f.Target != diskOfData }) {
		return 0
	}
	return list[0].Seq - 1
}

func same(a, b fence.Entry) bool {
	if len(a.Header) != len(b.Header) {
		return false
	}
	for k, v := range a.Header {
		if b.Header[k] != v {
			return false
		}
	}
	return a.Seq == b.Seq && a.Time == b.Time && a.Subject == b.Subject && slices.Equal(a.Data, b.Data)
}

// empty tells that a message has no content: a tick of a partition or of the
// control log, the end of a lane, or a claim.
func empty(e fence.Entry) bool { return len(e.Data) == 0 || string(e.Data) == "{}" }
