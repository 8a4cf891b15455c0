package engine

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/dermai/millrace/schemas"
)

// split cuts a decision into parts whose JSON is at most PartBytes long, unless
// a single change is longer. Admissions come first, then transitions, then
// releases. A part that is not done names the key of the last transition up to
// its end; with "" nothing but admissions stands before it.
func (d *Decider) split(whole schemas.Decision) []schemas.Decision {
	limit := d.PartBytes
	if limit == 0 {
		limit = DefaultPartBytes
	}
	const frame = 256 // bytes of a part without its lists, UpTo aside
	head := schemas.Decision{Class: whole.Class, Tick: whole.Tick}
	part := head
	var parts []schemas.Decision
	used, upTo := frame, ""
	room := func(item any) {
		n := jsonSize(item) + 1
		if used+n+len(upTo) > limit && used > frame {
			part.UpTo = upTo
			parts = append(parts, part)
			part, used = head, frame
		}
		used += n
	}
	for _, a := range whole.Admitted {
		room(a)
		part.Admitted = append(part.Admitted, a)
	}
	for _, t := range whole.Transitions {
		room(t)
		part.Transitions = append(part.Transitions, t)
		upTo = t.Instance + "|" + t.Group
	}
	for _, r := range whole.Released {
		room(r)
		part.Released = append(part.Released, r)
	}
	part.Done = true
	return append(parts, part)
}

func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("engine: encode %T: %v", v, err)) // all strings are valid UTF-8, all numbers finite
	}
	return len(b)
}

// Rest is what is still to be written of a tick's parts after the last decision
// that is stored. It serves an evaluator that has decided the tick of that
// decision again after a restart, even if the parts are now cut differently.
func Rest(parts []schemas.Decision, stored schemas.Decision) []schemas.Decision {
	var rest []schemas.Decision
	for _, part := range parts {
		switch {
		case part.Tick > stored.Tick:
			rest = append(rest, part)
			continue
		case part.Tick < stored.Tick || stored.Done:
			continue
		case stored.UpTo != "":
			part.Admitted = nil
			part.Transitions = after(part.Transitions, stored.UpTo)
		}
		if part.Done || len(part.Admitted)+len(part.Transitions)+len(part.Released) > 0 {
			rest = append(rest, part)
		}
	}
	return rest
}

// after is the part of ascending transitions whose keys are greater than a key.
func after(list []schemas.Transition, key string) []schemas.Transition {
	for len(list) > 0 && list[0].Instance+"|"+list[0].Group <= key {
		list = list[1:]
	}
	return list
}
