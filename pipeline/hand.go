package pipeline

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// held is one message in hand: the broker gave it and waits for its
// acknowledgement, which it gets when every item of it is settled.
type held struct {
	source *source
	seq    uint64        // in the source's stream
	msg    jetstream.Msg // as it was given last; under the hand's lock

	subject  schemas.Subject
	name     string // of the subject
	data     []byte
	header   nats.Header
	weight   int      // bytes in memory, about
	origin   Position // of the first item, where it was stored first
	arrival  int64    // Unix ns
	redriven int      // times that it was taken out of quarantine

	memory  *[]byte     // of the unpacked body, of bodies; nil: it was not packed
	bad     error       // the message as a whole cannot be read
	lines   [][]byte    // its items that were not yet given
	next    int         // number of lines[0]
	left    int         // items not settled
	dropped bool        // some item is left to a later delivery
	touched atomic.Bool // the handler got some item
}

// item is one event, or change of an alert, on its way through a handler.
type item struct {
	of       *held
	index    int
	line     []byte
	attempts int   // that ended
	panics   int   // among them
	verdict  error // why it goes into quarantine
	fate     fate
	wait     time.Duration // of one that is retried
}

// fate is what became of an item that was given.
type fate int

const (
	undecided fate = iota
	done           // handled, passed over, or in quarantine
	retried        // to be given again
	dropped        // left to a later delivery of its message
)

// heldBytes is about what a message or an item costs beside its bytes.
const heldBytes = 512

// hand is what a consumer has in hand, of all its streams.
type hand struct {
	limit int
	open  func(*held) // finds the lines of a message

	mu      sync.Mutex
	work    sync.Cond // something is there to take, or to end
	bytes   int       // of messages and of items that wait for another attempt
	retries int       // of the latter
	waiting []*held   // not opened, in the order of arrival
	opened  []*held   // with lines to give
	ready   []*item   // to be given again, now
	later   map[*item]*time.Timer
	opening bool          // a worker opens messages
	given   int           // items and messages that workers have
	last    chan struct{} // closed when the worker that took last has handled
	closing bool          // what is not touched is left to others
	cut     bool          // what is touched, too
	room    chan struct{} // closed when there is room again; nil: nobody waits
}

func newHand(limit int, open func(*held)) *hand {
	h := &hand{limit: limit, open: open, later: map[*item]*time.Timer{}, last: make(chan struct{})}
	close(h.last)
	h.work.L = &h.mu
	return h
}

// add takes a message in hand. It tells false for one that this process has
// settled already, and whose acknowledgement was lost.
func (h *hand) add(m *held) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if known, ok := m.source.held[m.seq]; ok {
		known.msg = m.msg // given again while it is being worked on
		return true
	}
	if m.source.settled.has(m.seq) {
		return false
	}
	m.source.held[m.seq] = m
	h.bytes += m.weight
	h.waiting = append(h.waiting, m)
	h.work.Signal()
	return true
}

// full returns a channel that is closed when there is room for more, nil if
// there is.
func (h *hand) full() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes < h.limit {
		return nil
	}
	if h.room == nil {
		h.room = make(chan struct{})
	}
	return h.room
}

// turn is when a worker may handle what it took, if only one at a time may.
type turn struct {
	come <-chan struct{} // closed when who took before has handled
	over chan<- struct{} // to be closed by who took
}

// take waits for items and gives up to most of them, in memory of into. None:
// there will be no more.
func (h *hand) take(into []*item, most int) ([]*item, turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if h.closing {
			h.leave()
		}
		switch {
		case len(h.ready) > 0:
			n := min(most, len(h.ready))
			into = append(into, h.ready[:n]...)
			h.ready = h.ready[n:]
		case len(h.opened) < openAhead && len(h.waiting) > 0 && h.retries < h.limit && !h.opening:
			h.unwrap(most)
			continue
		case len(h.opened) > 0:
			into = h.lines(into, most)
		case h.closing && h.given == 0:
			h.work.Broadcast()
			return nil, turn{}
		default:
			h.work.Wait()
			continue
		}
		if len(into) > 0 {
			h.given += len(into)
			if len(h.ready)+len(h.opened)+len(h.waiting) > 0 {
				h.work.Signal()
			}
			over := make(chan struct{})
			t := turn{come: h.last, over: over}
			h.last = over
			return into, t
		}
	}
}

// lines gives lines of opened messages. Under the lock.
func (h *hand) lines(into []*item, most int) []*item {
	for len(h.opened) > 0 && len(into) < most {
		m := h.opened[0]
		n := min(most-len(into), len(m.lines))
		items := make([]item, n)
		for i := range items {
			items[i] = item{of: m, index: m.next + i, line: m.lines[i]}
			into = append(into, &items[i])
		}
		m.lines, m.next = m.lines[n:], m.next+n
		if len(m.lines) == 0 {
			m.lines = nil
			h.opened[0] = nil
			h.opened = h.opened[1:]
		}
	}
	return into
}

// openAhead is how many opened messages there are at least, so that while one worker
// unpacks a frame the others have events.
const openAhead = 2

// packed tells a body that is larger than it looks.
func packed(data []byte) bool { return bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

// bodies keeps the memory of unpacked bodies whose messages are settled.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// unpack gives the body of a message, until that is settled.
func (m *held) unpack() (body []byte) {
	if !packed(m.data) {
		body, m.bad = schemas.Unpack(nil, m.data, schemas.FrameDecoded)
		return body
	}
	m.memory = bodies.Get().(*[]byte)
	if body, m.bad = schemas.Unpack(*m.memory, m.data, schemas.FrameDecoded); m.bad == nil {
		*m.memory = body
	}
	return body
}

// unwrap opens the next message, or several plain ones. Under the lock, which
// it gives up meanwhile. One worker at a time does, which keeps the order, and the
// memory of what is unpacked in bounds.
func (h *hand) unwrap(most int) {
	n := 1
	for n < min(most, len(h.waiting)) && !packed(h.waiting[n-1].data) && !packed(h.waiting[n].data) {
		n++
	}
	some := make([]*held, n)
	copy(some, h.waiting)
	clear(h.waiting[:n])
	h.waiting = h.waiting[n:]
	h.given += n
	h.opening = true
	h.mu.Unlock()
	for _, m := range some {
		h.open(m)
	}
	h.mu.Lock()
	h.opening = false
	h.given -= n
	for _, m := range some {
		m.left = len(m.lines)
		if m.left == 0 {
			h.end(m)
			continue
		}
		h.opened = append(h.opened, m)
	}
	h.work.Signal()
}

// leave drops what is not touched, and all that waits for another attempt; once
// cut, whatever no worker has. Under the lock.
func (h *hand) leave() {
	for _, m := range h.waiting {
		m.dropped = true
		h.end(m)
	}
	h.waiting = nil
	keep := h.opened[:0]
	for _, m := range h.opened {
		if m.touched.Load() && !h.cut {
			keep = append(keep, m)
			continue
		}
		m.dropped = true
		m.left -= len(m.lines)
		m.lines = nil
		if m.left == 0 {
			h.end(m)
		}
	}
	h.opened = keep
	for it, timer := range h.later {
		timer.Stop() // one that runs already finds nothing
		h.keep(it, -1)
		h.drop(it)
	}
	clear(h.later)
	for _, it := range h.ready {
		h.drop(it)
	}
	h.ready = nil
}

// keep counts the memory of an item that waits. Under the lock.
func (h *hand) keep(it *item, sign int) {
	n := sign * (len(it.line) + heldBytes)
	h.bytes += n
	h.retries += n
}

func (h *hand) drop(it *item) {
	it.of.dropped = true
	h.settle(it)
}

// giveBack takes what a worker has done with the items that it took.
func (h *hand) giveBack(items []*item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given -= len(items)
	for _, it := range items {
		switch it.fate {
		case retried:
			it.fate = undecided
			it.line = bytes.Clone(it.line) // not the whole frame
			h.keep(it, 1)
			h.later[it] = time.AfterFunc(it.wait, func() { h.again(it) })
		case dropped, undecided:
			it.of.dropped = true
			h.settle(it)
		case done:
			h.settle(it)
		}
	}
	if h.closing {
		h.work.Broadcast()
	}
}

// again makes an item ready whose wait is over.
func (h *hand) again(it *item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.later[it]; !ok {
		return
	}
	delete(h.later, it)
	h.keep(it, -1)
	h.ready = append(h.ready, it)
	h.work.Signal()
}

// settle counts an item of a message off. Under the lock.
func (h *hand) settle(it *item) {
	if it.of.left--; it.of.left == 0 && len(it.of.lines) == 0 {
		h.end(it.of)
	}
}

// end answers the broker for a message. Under the lock: what is sent is only
// queued.
func (h *hand) end(m *held) {
	delete(m.source.held, m.seq)
	h.bytes -= m.weight
	if m.memory != nil {
		bodies.Put(m.memory)
		m.memory = nil
	}
	m.source.answer(m)
	if h.room != nil && h.bytes < h.limit/2 {
		close(h.room)
		h.room = nil
	}
	if len(h.waiting) > 0 {
		h.work.Signal() // may have waited for memory
	}
}

// close ends the hand: messages that the handler saw are finished, the rest is
// left to others.
func (h *hand) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing = true
	h.work.Broadcast()
}

// cutOff leaves everything to others that no worker has.
func (h *hand) cutOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut = true
	h.work.Broadcast()
}

// working lists the messages in hand as they were given last.
func (h *hand) working(sources []*source) []jetstream.Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []jetstream.Msg
	for _, s := range sources {
		for _, m := range s.held {
			out = append(out, m.msg)
		}
	}
	return out
}

// recent remembers the sequences of the last messages that were settled.
type recent struct {
	seqs [4096]uint64
	next int
	most uint64 // the highest of all
}

func (r *recent) add(seq uint64) {
	r.seqs[r.next] = seq
	r.next = (r.next + 1) % len(r.seqs)
	r.most = max(r.most, seq)
}

func (r *recent) has(seq uint64) bool {
	if seq > r.most {
		return false
	}
	for _, s := range r.seqs {
		if s == seq {
			return true
		}
	}
	return false
}
