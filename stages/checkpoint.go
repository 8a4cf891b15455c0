package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/rules/engine"
	"github.com/dermai/millrace/schemas"
)

// keepWait is how long an evaluator waits for what it writes and trims beside its
// decisions: where that stream's server is gone without a word, another has a leader.
const keepWait = time.Second

// packGroups is how many groups are packed in a step, between which ticks are decided:
// a few milliseconds of work where their windows are full.
const packGroups = 8

// partBytes is how much of packed state goes into one part of a checkpoint,
// unless told otherwise.
const partBytes = 512_000

// checkpoints knows the last two whole checkpoints, by the sequences of their
// first parts.
type checkpoints struct {
	last, previous uint64
	tick           int64  // of the last one
	needed         uint64 // sequence of PARTIALS that the last one reads on from
	trim           uint64 // PARTIALS may be trimmed below; 0: nothing to trim
	unnamed        bool   // no message names the last one yet
}

func (c *checkpoints) header() string {
	return strconv.FormatUint(c.last, 10) + "," + strconv.FormatUint(c.previous, 10)
}

func parseCheckpoints(h string) (last, previous uint64, err error) {
	if h == "" {
		return 0, 0, nil
	}
	a, b, _ := strings.Cut(h, ",")
	if last, err = strconv.ParseUint(a, 10, 64); err == nil {
		previous, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("header %s: %q is not <last>,<previous>", schemas.HeaderCheckpoint, h)
	}
	return last, previous, nil
}

// saver writes checkpoints to a subject of its own, part by part. Nothing
// depends on a checkpoint before a message of the evaluator's names it, so one
// that was begun and never ended, or that a fenced evaluator wrote, is only dead
// weight until it is trimmed.
type saver struct {
	log     fence.Log
	subject string
	claims  func() string

	writer *fence.Writer
	loaded bool
	state  *packing // what becomes parts; nil: it has
	parts  [][]byte // still to be written
	first  uint64   // sequence of the first part, 0: not written yet
	tick   int64
	needed uint64
}

func newSaver(log fence.Log, subject string, claims func() string) *saver {
	return &saver{log: log, subject: subject, claims: claims}
}

func (s *saver) saving() bool { return s.state != nil || len(s.parts) > 0 }

// drop forgets the checkpoint that is being written. The next one has a writer that
// knows of none before: that they are lost is no harm.
func (s *saver) drop() { s.writer, s.loaded, s.state, s.parts, s.first = nil, false, nil, nil, 0 }

// step writes one part. done: it was the last.
func (s *saver) step(ctx context.Context) (done bool, err error) {
	switch {
	case !s.loaded: // also forgets a part of a dropped checkpoint that is in flight
		s.writer = fence.NewWriter(s.log, s.subject, s.claims)
		_, err = s.writer.Load(ctx)
		s.loaded = err == nil
		return false, err
	case s.writer.Unsettled():
		err = s.writer.Settle(ctx)
	default:
		err = s.writer.Append(ctx, fence.Header{schemas.HeaderType: schemas.TypeCheckpoint}, s.parts[0])
	}
	if errors.Is(err, fence.ErrUnknown) || errors.Is(err, fence.ErrFull) {
		return false, err
	}
	if err != nil {
		s.drop()
		return false, err
	}
	if s.first == 0 {
		s.first = s.writer.Seq()
	}
	s.parts = s.parts[1:]
	return len(s.parts) == 0, nil
}

// checkpoint begins to write the state as it is now: everything decided is
// stored.
func (m *Evaluate) checkpoint() error {
	state, err := memory{m.chains, m.next, m.writer.Seq(), m.changed, m.control.mark(), m.created}.pack(m.decider)
	if err != nil {
		return fence.Incident(m.cfg.Class.Checkpoints(), "%v", err)
	}
	m.saver.drop()
	m.saver.state, m.saver.tick, m.saver.needed = state, m.decider.Tick(), m.next
	return nil
}

// pack packs a piece of the state, and cuts it into parts once it is whole.
func (m *Evaluate) pack() error {
	s := m.saver
	state, err := s.state.step(packGroups)
	if err != nil {
		return fence.Incident(s.subject, "%v", err)
	}
	if state == nil {
		return nil
	}
	s.state = nil
	size := cmp.Or(m.cfg.PartBytes, partBytes)
	of := max(1, (len(state)+size-1)/size)
	for i := range of {
		data, err := schemas.Encode(schemas.CheckpointPart{
			Tick: s.tick, Part: i + 1, Of: of,
			Data: state[i*size : min(len(state), (i+1)*size)],
		})
		if err != nil {
			return fence.Incident(s.subject, "%v", err)
		}
		s.parts = append(s.parts, data)
	}
	return nil
}

// save packs or writes the next part of a checkpoint, and after the last lets the next
// message name it.
func (m *Evaluate) save(ctx context.Context) error {
	if m.saver.state != nil {
		return m.pack()
	}
	ctx, cancel := context.WithTimeout(ctx, keepWait)
	defer cancel()
	done, err := m.saver.step(ctx)
	if done {
		c := &m.check
		c.previous, c.last, c.tick, c.unnamed = c.last, m.saver.first, m.saver.tick, true
		c.trim, c.needed = c.needed, m.saver.needed
		m.saver.first = 0
	}
	return fence.Missing(err, m.cfg.Class.Checkpoints())
}

// restore takes the state from the last whole checkpoint, the one before it if
// that cannot be read, or the beginning of the partials.
func (m *Evaluate) restore(ctx context.Context) (bool, error) {
	s := m.control.Schedule()
	first, ok := s.First()
	subject := m.cfg.Class.Alerts()
	head, err := m.cfg.Log.Head(ctx, subject)
	if !ok { // nothing is deployed yet, or the control log was lost
		if err == nil && head.Header[schemas.HeaderType] != schemas.TypeGenesis {
			return false, fmt.Errorf("%s: it opens nothing, though %s was written to: %w", schemas.StreamControl, subject, fence.ErrRecreated)
		}
		return false, nil
	}
	if err != nil {
		return false, fence.Missing(fmt.Errorf("load %s: %w", subject, err), subject)
	}
	if err := m.look(ctx); err != nil {
		return false, err
	}
	last, previous, err := parseCheckpoints(head.Header[schemas.HeaderCheckpoint])
	if err != nil {
		return false, fence.Incident(subject, "message %d: %v", head.Seq, err)
	}
	m.chains, m.heads = map[schemas.Partition]chain{}, map[schemas.Partition]uint64{}
	m.asking.reset()
	m.saver.drop()
	m.claimed, m.queue, m.check = false, nil, checkpoints{last: last, previous: previous}
	var bad error
	for _, at := range []uint64{last, previous} {
		if at == 0 {
			continue
		}
		state, tick, err := m.readCheckpoint(ctx, at)
		if err == nil && tick >= s.Limit() {
			return false, nil // the control log is there, and read in a moment
		}
		if err == nil {
			err = m.remember(ctx, at, state)
		}
		if err == nil {
			return true, nil
		}
		if not := (*unusableError)(nil); !errors.As(err, &not) {
			return false, err
		}
		bad = errors.Join(bad, err)
	}
	if bad != nil {
		return false, fence.Incident(m.cfg.Class.Checkpoints(), "no checkpoint can be read: %v", bad)
	}
	m.decider = m.newDecider()
	m.next, m.written, m.changed = 1, first-1, 0
	m.logged = logged{next: 1, tick: first - 1}
	m.check.tick = first - 1
	return true, nil
}

// unusableError says that what is stored is not a whole checkpoint.
type unusableError struct{ error }

func unusable(at uint64, format string, args ...any) error {
	return &unusableError{fmt.Errorf("checkpoint %d: %w", at, fmt.Errorf(format, args...))}
}

// unread tells a checkpoint whose next message is not there from one of which it was
// not delivered yet.
func (m *Evaluate) unread(ctx context.Context, at, next uint64, what string) error {
	info, err := m.cfg.Log.Info(ctx, schemas.StreamCheckpoint)
	switch {
	case err != nil:
		return fmt.Errorf("read checkpoint %d: %w", at, err)
	case info.First <= next && next <= info.Last:
		return fmt.Errorf("read checkpoint %d: message %d is kept but was not delivered", at, next)
	}
	return unusable(at, "%s", what)
}

// readCheckpoint joins the parts of the checkpoint whose first has sequence at,
// and tells its tick.
func (m *Evaluate) readCheckpoint(ctx context.Context, at uint64) (state []byte, tick int64, err error) {
	next := at
	for want, of := 1, 1; want <= of; {
		entries, err := m.cfg.Log.Read(ctx, schemas.StreamCheckpoint, next, readPartials)
		if err != nil {
			return nil, 0, fmt.Errorf("read checkpoint %d: %w", at, err)
		}
		if len(entries) == 0 {
			return nil, 0, m.unread(ctx, at, next, fmt.Sprintf("it ends after %d of %d parts", want-1, of))
		}
		for _, e := range entries {
			if next = e.Seq + 1; e.Subject != m.cfg.Class.Checkpoints() {
				continue
			}
			var part schemas.CheckpointPart
			if err := schemas.DecodeInto(e.Data, &part); err != nil {
				return nil, 0, unusable(at, "message %d: %w", e.Seq, err)
			}
			if e.Header[schemas.HeaderType] != schemas.TypeCheckpoint || part.Part != want {
				return nil, 0, unusable(at, "message %d is not its part %d", e.Seq, want)
			}
			state, of, tick = append(state, part.Data...), part.Of, part.Tick
			if want++; want > of {
				break
			}
		}
	}
	return state, tick, nil
}

// look notes which streams are there.
func (m *Evaluate) look(ctx context.Context) error {
	m.created = map[string]int64{}
	for _, name := range []string{schemas.StreamAlerts, schemas.StreamPartials} {
		info, err := m.cfg.Log.Info(ctx, name)
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		m.created[name] = info.Created
	}
	return nil
}

// remember makes the state of a checkpoint the machine's own, if it is of the streams
// that are there.
func (m *Evaluate) remember(ctx context.Context, at uint64, state []byte) error {
	decider := m.newDecider()
	saved, err := unpackMemory(state, decider)
	if err != nil {
		return unusable(at, "%w", err)
	}
	for name, created := range saved.Created {
		if created != m.created[name] {
			return fmt.Errorf("%s: checkpoint %d is of another: %w", name, at, fence.ErrRecreated)
		}
	}
	if err := m.control.recognise(ctx, saved.Control); err != nil {
		return err
	}
	m.decider, m.chains, m.next, m.changed = decider, saved.Chains, saved.Next, saved.Changed
	m.logged = logged{next: saved.Alerts + 1, tick: decider.Tick()}
	m.written, m.check.tick, m.check.needed = decider.Tick(), decider.Tick(), saved.Next
	return nil
}

func (m *Evaluate) newDecider() *engine.Decider {
	d := engine.NewDecider(m.control.Schedule(), m.cfg.Class)
	d.PartBytes = m.cfg.PartBytes
	return d
}

// trim forgets what no checkpoint that is named reads on from: older
// checkpoints, and partials but for each subject's last message, which is its
// reducer's position. What fails is trimmed behind the next checkpoint.
func (m *Evaluate) trim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keepWait)
	defer cancel()
	below := m.check.trim
	m.check.trim = 0
	err := m.cfg.Trimmer.Trim(ctx, schemas.StreamCheckpoint, m.cfg.Class.Checkpoints(), m.check.previous)
	for p, head := range m.heads {
		err = errors.Join(err, m.cfg.Trimmer.Trim(ctx, schemas.StreamPartials, p.Partials(), min(below, head)))
	}
	if err != nil {
		return fmt.Errorf("behind the checkpoint at tick %d: %w", m.check.tick, err)
	}
	return nil
}
