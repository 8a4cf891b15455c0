package sources

import (
	"slices"

	"github.com/dermai/millrace/schemas"
)

// A frame must fit on the wire when its lines do not compress, too.
const (
	frameBytes = schemas.FrameWire * 3 / 4
	frameLines = 4096
)

// lane is what the events of one frame have in common.
type lane struct {
	kind    schemas.Kind
	service string
}

// frame is what is published at once.
type frame struct {
	lane  lane
	data  []byte
	lines [][]byte // pieces of data
}

func (f *frame) room(n int) bool {
	return len(f.lines) < frameLines && len(f.data)+n <= frameBytes || len(f.lines) == 0
}

// frames gathers events. Those of one lane stay in their order. The zero value
// is empty.
type frames struct {
	list []frame
	last map[lane]int // the frame of each lane that may have room
}

// add puts an event, which is copied, into the last frame of its lane, or into a
// new one where that has no room.
func (fs *frames) add(l lane, event []byte) {
	i, ok := fs.last[l]
	if !ok || !fs.list[i].room(len(event)) {
		i = len(fs.list)
		fs.list = slices.Grow(fs.list, 1)[:i+1]
		f := &fs.list[i]
		*f = frame{lane: l, data: f.data[:0], lines: f.lines[:0]} // the buffers of an earlier frame
		if fs.last == nil {
			fs.last = map[lane]int{}
		}
		fs.last[l] = i
	}
	f := &fs.list[i]
	begin := len(f.data)
	f.data = append(f.data, event...)
	f.lines = append(f.lines, f.data[begin:len(f.data):len(f.data)])
}

// clear empties it and keeps the buffers.
func (fs *frames) clear() {
	fs.list = fs.list[:0]
	clear(fs.last)
}
