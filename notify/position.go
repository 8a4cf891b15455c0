package notify

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
)

// covers is how far a receiver is planned: the first n notifications that
// follow from message seq of ALERTS, and all from those before it.
type covers struct {
	seq uint64
	n   int
}

func (c covers) String() string { return fmt.Sprintf("%d,%d", c.seq, c.n) }

// parseMark reads what tells the message that a message of notify.<receiver> covers from
// another. An older one does not say.
func parseMark(h fence.Header, seq uint64) (schemas.Mark, error) {
	if h[schemas.HeaderMark] == "" {
		return schemas.Mark{Seq: seq}, nil
	}
	created, time, err := parsePair(h, schemas.HeaderMark)
	return schemas.Mark{Created: int64(created), Seq: seq, Time: int64(time)}, err
}

// parsePosition reads the headers of a message of notify.<receiver>.
func parsePosition(h fence.Header) (at covers, checkpoint, previous uint64, err error) {
	seq, n, err := parsePair(h, schemas.HeaderCovers)
	if err != nil {
		return covers{}, 0, 0, err
	}
	checkpoint, previous, err = parsePair(h, schemas.HeaderCheckpoint)
	return covers{seq, int(n)}, checkpoint, previous, err
}

func parsePair(h fence.Header, name string) (a, b uint64, err error) {
	left, right, _ := strings.Cut(h[name], ",")
	if a, err = strconv.ParseUint(left, 10, 64); err == nil {
		b, err = strconv.ParseUint(right, 10, 63)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("header %s: %q is not two numbers", name, h[name])
	}
	return a, b, nil
}
