package notify

import "time"

// DefaultPerMinute is how many messages a receiver gets in a minute at most,
// unless its max_per_minute says otherwise.
const DefaultPerMinute = 5

// maxPerMinute bounds max_per_minute: the times of the messages of a minute are
// part of every record of an attempt.
const maxPerMinute = 120

// budgetWindow is the time in which messages are counted.
const budgetWindow = time.Minute

// budget counts the messages that a receiver got, or may have got, within
// budgetWindow. What it knows is part of every record of an attempt, so that the
// last one tells the next sender.
type budget struct {
	limit int     // 0: none, and nothing is counted
	sent  []int64 // when the attempts began, Unix ns, ascending
}

// recent gives the attempts that count at a time.
func (b *budget) recent(now time.Time) []int64 {
	if b.limit == 0 {
		return nil
	}
	for i, t := range b.sent {
		if now.Sub(time.Unix(0, t)) < budgetWindow {
			return b.sent[i:]
		}
	}
	return nil
}

// room tells that an attempt may begin.
func (b *budget) room(now time.Time) bool {
	return b.limit == 0 || len(b.recent(now)) < b.limit
}

// last tells that the attempt after which there is no room would be the next.
func (b *budget) last(now time.Time) bool {
	return b.limit > 0 && len(b.recent(now)) >= b.limit-1
}

// with gives what is known once an attempt has begun.
func (b *budget) with(now time.Time) []int64 {
	if b.limit == 0 {
		return nil
	}
	return append(append([]int64{}, b.recent(now)...), now.UnixNano())
}

// restore takes over what a record says. A time that is still to come is that of
// another clock.
func (b *budget) restore(sent []int64, now time.Time) {
	b.sent = nil
	for _, t := range sent {
		b.sent = append(b.sent, min(t, now.UnixNano()))
	}
}
