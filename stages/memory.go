package stages

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// memory is the content of a checkpoint beside the decider's own.
type memory struct {
	Chains  map[schemas.Partition]chain `json:"chains"`
	Next    uint64                      `json:"next"`              // sequence of PARTIALS to read on from
	Alerts  uint64                      `json:"alerts"`            // sequence of ALERTS up to which everything is in here
	Changed int64                       `json:"changed"`           // last tick with a change that somebody is told of
	Control schemas.Mark                `json:"control,omitzero"`  // the last entry of the control log that was read
	Created map[string]int64            `json:"created,omitempty"` // of ALERTS and PARTIALS, Unix ns
}

// The content is one JSON object: the decider's checkpoint in base64, which may be
// hundreds of megabytes long and so is written and read piece by piece, and behind it
// the members of memory. It is a permanent format.
const (
	memoryHead = `{"decider":"`
	memoryRest = `",` // and the members, without their opening brace
)

// packing is content that is being written down while the decider goes on.
type packing struct {
	snapshot *engine.Snapshot
	packed   bytes.Buffer
	content  io.WriteCloser // becomes packed
	decider  io.WriteCloser // becomes the decider's member of content
	rest     string
}

// pack begins to write the content down, as it is now.
func (s memory) pack(d *engine.Decider) (*packing, error) {
	rest, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	p := &packing{rest: memoryRest + string(rest[1:])}
	p.content = schemas.Packing(&p.packed)
	p.decider = base64.NewEncoder(base64.StdEncoding, p.content)
	p.snapshot = d.Snapshot(p.decider)
	_, err = io.WriteString(p.content, memoryHead)
	return p, err
}

// step writes so many groups or rows more, and gives the content once it is whole.
func (p *packing) step(n int) ([]byte, error) {
	done, err := p.snapshot.Write(n)
	if err != nil || !done {
		return nil, err
	}
	err = p.decider.Close()
	_, failed := io.WriteString(p.content, p.rest)
	err = errors.Join(err, failed, p.content.Close())
	return p.packed.Bytes(), err
}

// unpackMemory reads what pack wrote, and restores the decider.
func unpackMemory(state []byte, d *engine.Decider) (s memory, err error) {
	unpacked := schemas.Unpacking(bytes.NewReader(state))
	defer unpacked.Close()
	r := bufio.NewReader(unpacked)
	if err := expect(r, memoryHead); err != nil {
		return s, err
	}
	if err := d.Restore(base64.NewDecoder(base64.StdEncoding, quoted{r})); err != nil {
		return s, err
	}
	if err := expect(r, memoryRest); err != nil {
		return s, err
	}
	return s, json.UnmarshalRead(io.MultiReader(strings.NewReader("{"), r), &s)
}

// expect reads a text.
func expect(r io.Reader, text string) error {
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("want %s: %w", text, err)
	}
	if string(got) != text {
		return fmt.Errorf("%q stands where %s should", got, text)
	}
	return nil
}

// quoted reads up to a quotation mark, which is left.
type quoted struct{ *bufio.Reader }

func (q quoted) Read(p []byte) (int, error) {
	if _, err := q.Peek(1); err != nil {
		return 0, err
	}
	ahead, err := q.Peek(min(q.Buffered(), len(p)))
	if err != nil {
		return 0, err
	}
	ahead, _, _ = bytes.Cut(ahead, []byte{'"'})
	if len(ahead) == 0 {
		return 0, io.EOF
	}
	return q.Reader.Read(p[:len(ahead)])
}
