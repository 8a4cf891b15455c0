package pipeline

import "github.com/dermai/millrace/schemas"

// batch is what a lane writer has taken out of its queue: the lines of one or
// more calls with the same source, in their order, each with its newline.
type batch struct {
	source string
	data   []byte
	ends   []int // of each line in data
	parts  []part
}

// part is how many lines of a batch are a call's.
type part struct {
	call  *call
	lines int
}

func (b *batch) len() int { return len(b.ends) }

// slice gives the bytes of lines from, from+1, ..., to-1.
func (b *batch) slice(from, to int) []byte { return b.data[b.start(from):b.start(to)] }

func (b *batch) start(line int) int {
	if line == 0 {
		return 0
	}
	return b.ends[line-1]
}

// fill takes the next lines out of the queue. It reports false when nothing
// waits.
func (b *batch) fill(w *laneWriter) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if cap(b.data) > 4*len(b.data)+64<<10 { // a burst is over: a quiet lane keeps little
		b.data, b.ends, b.parts, w.packed = nil, nil, nil, nil
	}
	b.data, b.ends, b.parts = b.data[:0], b.ends[:0], b.parts[:0]
	for len(w.queue) > 0 {
		c := w.queue[0]
		if len(b.parts) > 0 && (c.source != b.source || !b.hasRoom(c.lines, w.target)) {
			break
		}
		b.source = c.source
		n := b.take(c.lines)
		c.lines, c.taken = c.lines[n:], true
		b.parts = append(b.parts, part{c, n})
		if len(c.lines) > 0 {
			break
		}
		c.lines = nil
		w.queue[0] = nil
		w.queue = w.queue[1:]
	}
	w.bytes -= len(b.data)
	return len(b.parts) > 0
}

// hasRoom tells whether all lines fit beside what is there.
func (b *batch) hasRoom(lines [][]byte, target int) bool {
	n := len(b.data)
	for _, line := range lines {
		n += len(line) + 1
	}
	return n <= target && len(b.ends)+len(lines) <= schemas.FrameEvents
}

// take copies lines while a frame has room, and tells how many.
func (b *batch) take(lines [][]byte) int {
	for i, line := range lines {
		if len(b.data)+len(line)+1 > schemas.FrameDecoded || len(b.ends) == schemas.FrameEvents {
			return i
		}
		b.data = append(append(b.data, line...), '\n')
		b.ends = append(b.ends, len(b.data))
	}
	return len(lines)
}

// resolve gives lines from, ..., to-1 their outcome. Under the writer's lock.
func (b *batch) resolve(w *laneWriter, from, to int, err error) {
	begin := 0
	for _, p := range b.parts {
		if n := min(to, begin+p.lines) - max(from, begin); n > 0 {
			w.resolve(p.call, n, err)
		}
		begin += p.lines
	}
}
