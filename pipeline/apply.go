package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/schemas"
	"github.com/nats-io/nats.go/jetstream"
)

// Change is one thing that Apply does, or would do.
type Change struct {
	Name   string // stream, bucket or subject
	Action string // create, edit, genesis, open
	Detail string
}

// String is the change as one line.
func (c Change) String() string {
	return strings.TrimSpace(c.Action + " " + c.Name + " " + c.Detail)
}

// Apply makes the broker as the layout says: streams, buckets, the first message
// of each fenced subject, and the control entry that opens the partitions. It
// returns what it changed; with dryRun, what it would change, and changes
// nothing. What is as it should be stays untouched, so it may be called at each
// start and by several processes at once.
//
// It refuses a stream whose policy breaks a promise, and reports an incident
// (fence.IsIncident) where something that the control log opened is gone:
// creating it anew would hide the loss.
func Apply(ctx context.Context, c *Conn, layout Layout, dryRun bool) ([]Change, error) {
	if err := layout.Validate(); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	a := &applier{conn: c, asked: layout.Deployment, layout: layout.withDefaults(), log: c.Log(), dry: dryRun}
	defer a.log.Close()
	if err := a.run(ctx); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			err = fmt.Errorf("the connection to the broker broke; run it again: %w", err)
		}
		return a.changes, fmt.Errorf("apply: %w", err)
	}
	return a.changes, nil
}

type applier struct {
	conn    *Conn
	layout  Layout
	asked   schemas.Deployment // as the caller gave it
	log     *Log
	dry     bool
	changes []Change

	existing   map[string]*jetstream.StreamInfo
	heads      map[string]string          // type of each fenced subject's head; not in it: none
	opened     map[schemas.Partition]bool // by the control log
	deployment *schemas.Deployment        // of the control log
}

func (a *applier) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		a.look, a.checkPolicies, a.checkLosses, a.applyStreams, a.applyBuckets, a.sync, a.applyGenesis, a.applyOpen,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// written tells that a fenced subject has a message.
func (a *applier) written(subject string) bool {
	_, ok := a.heads[subject]
	return ok
}

// change records a change and makes it, unless this is a dry run.
func (a *applier) change(c Change, do func() error) error {
	if !a.dry {
		if err := do(); err != nil {
			return fmt.Errorf("%s %s: %w", c.Action, c.Name, err)
		}
	}
	a.changes = append(a.changes, c)
	return nil
}

// fenced lists the subjects that begin with a genesis message. Control is the
// last: it exists when all the others do.
func (a *applier) fenced() []string {
	var out []string
	for _, p := range a.layout.partitions() {
		out = append(out, p.Partials())
	}
	for _, c := range schemas.Classes {
		out = append(out, c.Alerts(), c.Checkpoints())
	}
	for _, r := range a.layout.Receivers {
		out = append(out, "notify."+r, "deliveries."+r)
	}
	return append(out, schemas.SubjectControl)
}

// look reads what there is.
func (a *applier) look(ctx context.Context) error {
	a.existing = map[string]*jetstream.StreamInfo{}
	for _, want := range a.layout.streams() {
		s, err := a.conn.stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
		a.existing[want.Name] = s.CachedInfo()
	}
	a.heads = map[string]string{}
	for _, subject := range a.fenced() {
		if a.existing[schemas.StreamOf(subject)] == nil {
			continue
		}
		head, err := a.log.Head(ctx, subject)
		if errors.Is(err, fence.ErrNoHead) {
			continue
		}
		if err != nil {
			return err
		}
		a.heads[subject] = head.Header[schemas.HeaderType]
	}
	return a.readControl(ctx)
}

// readControl folds the control log as far as Apply is concerned.
func (a *applier) readControl(ctx context.Context) error {
	a.opened = map[schemas.Partition]bool{}
	if !a.written(schemas.SubjectControl) {
		return nil
	}
	info, err := a.log.Info(ctx, schemas.StreamControl)
	if err != nil {
		return err
	}
	for next := info.First; next <= info.Last; {
		entries, err := a.log.Read(ctx, schemas.StreamControl, next, 256)
		if err != nil {
			return err
		}
		for _, e := range entries {
			next = e.Seq + 1
			var entry schemas.ControlEntry
			if err := schemas.DecodeInto(e.Data, &entry); err != nil {
				return fence.Incident(schemas.StreamControl, "entry %d: %v", e.Seq, err)
			}
			for _, p := range entry.Open {
				a.opened[p] = true
			}
			if entry.Deployment != nil {
				a.deployment = entry.Deployment
			}
			if entry.Snapshot != nil {
				a.deployment = &entry.Snapshot.Deployment
				for p := range entry.Snapshot.Open {
					a.opened[p] = true
				}
			}
		}
	}
	return nil
}

func (a *applier) checkPolicies(context.Context) error {
	var faults []error
	for _, want := range a.layout.streams() {
		info := a.existing[want.Name]
		if info == nil {
			continue
		}
		faults = append(faults, broken(info.Config, want))
		if info.Config.Metadata[metaRestoring] != "" {
			faults = append(faults, fmt.Errorf("stream %s: %w", want.Name, restored(&fence.Info{}, info.Config)))
		}
		if used := int64(info.State.Bytes); want.MaxBytes < used {
			faults = append(faults, fmt.Errorf("stream %s: holds %d bytes, the layout allows %d: it would take nothing more; give it more, or wait until it is trimmed",
				want.Name, used, want.MaxBytes))
		}
	}
	return errors.Join(faults...)
}

// checkLosses compares what is there with what the control log says was made.
func (a *applier) checkLosses(context.Context) error {
	if !a.written(schemas.SubjectControl) {
		for subject, kind := range a.heads {
			if kind != schemas.TypeGenesis {
				return fence.Incident(schemas.SubjectControl, "the control log has no entry, though %s was written to: the log was lost; restore it", subject)
			}
		}
		if info := a.existing[schemas.StreamControl]; info != nil && info.State.LastSeq > 0 {
			return fence.Incident(schemas.SubjectControl, "the control log has no entry, though its stream had %d: the log was lost; restore it", info.State.LastSeq)
		}
		return nil
	}
	if d := a.deployment; d != nil && a.asked != (schemas.Deployment{}) && a.asked != *d {
		return fmt.Errorf("the deployment was created with %+v, the layout has %+v: it is fixed; leave it as it is, or make a deployment anew", *d, a.asked)
	}
	for _, p := range slices.Sorted(maps.Keys(a.opened)) {
		if int(p) >= a.layout.Partitions {
			return fmt.Errorf("partition %s is open and the layout has %d: partitions are never removed; set at least %d", p, a.layout.Partitions, p+1)
		}
		if a.existing[p.Stream()] == nil {
			return fence.Incident(p.Stream(), "partition %s was opened, and its stream is gone: restore it: millrace archive restore %s; apply would hide the loss", p, p.Stream())
		}
		if !a.written(p.Partials()) {
			return fence.Missing(fence.ErrNoHead, p.Partials())
		}
	}
	for _, c := range schemas.Classes {
		for _, subject := range []string{c.Alerts(), c.Checkpoints()} {
			if !a.written(subject) {
				return fence.Missing(fence.ErrNoHead, subject)
			}
		}
	}
	for _, r := range a.layout.Receivers {
		notify, deliveries := "notify."+r, "deliveries."+r
		if !a.written(notify) && a.written(deliveries) {
			return fence.Missing(fence.ErrNoHead, notify)
		}
		if !a.written(deliveries) && a.written(notify) && a.heads[notify] != schemas.TypeGenesis {
			return fence.Missing(fence.ErrNoHead, deliveries)
		}
	}
	return nil
}

func (a *applier) applyStreams(ctx context.Context) error {
	for _, want := range a.layout.streams() {
		info := a.existing[want.Name]
		if info == nil {
			detail := fmt.Sprintf("for %s, %d bytes, discard %v", strings.Join(want.Subjects, " "), want.MaxBytes, want.Discard)
			err := a.change(Change{want.Name, "create", detail}, func() error {
				_, err := a.conn.js.CreateStream(ctx, want)
				return err
			})
			if err != nil {
				return err
			}
			continue
		}
		to, diff := differences(info.Config, want)
		if len(diff) == 0 {
			continue
		}
		err := a.change(Change{want.Name, "edit", strings.Join(diff, ", ")}, func() error {
			_, err := a.conn.js.UpdateStream(ctx, to)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) applyBuckets(ctx context.Context) error {
	for _, want := range a.layout.buckets() {
		kv, err := a.conn.js.KeyValue(ctx, want.Bucket)
		if err == nil {
			status, err := kv.Status(ctx)
			if err != nil {
				return fmt.Errorf("bucket %s: %w", want.Bucket, err)
			}
			if want.LimitMarkerTTL > 0 && status.LimitMarkerTTL() == 0 {
				return fmt.Errorf("bucket %s: it has no time to live per key, so that a dead process would look alive; delete the bucket and apply again", want.Bucket)
			}
			continue
		}
		if !errors.Is(err, jetstream.ErrBucketNotFound) {
			return fmt.Errorf("bucket %s: %w", want.Bucket, err)
		}
		err = a.change(Change{Name: want.Bucket, Action: "create", Detail: "bucket"}, func() error {
			_, err := a.conn.js.CreateOrUpdateKeyValue(ctx, want)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sync puts the definitions on disk before anything rests on them.
func (a *applier) sync(context.Context) error {
	if a.layout.Sync == nil || a.dry || len(a.changes) == 0 {
		return nil
	}
	return a.layout.Sync()
}

func (a *applier) applyGenesis(ctx context.Context) error {
	for _, subject := range a.fenced() {
		if a.written(subject) {
			continue
		}
		m := fence.Message{Subject: subject, Header: fence.Header{schemas.HeaderType: schemas.TypeGenesis}}
		if subject == schemas.SubjectControl {
			var err error
			if m.Data, err = schemas.Encode(schemas.ControlEntry{Deployment: &a.layout.Deployment}); err != nil {
				return err
			}
		}
		err := a.change(Change{Name: subject, Action: "genesis"}, func() error {
			return a.genesis(ctx, m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// genesis writes the first message of a subject. That somebody else was faster
// is as good.
func (a *applier) genesis(ctx context.Context, m fence.Message) error {
	for {
		_, err := a.log.Append(ctx, m, 0)
		refused := (*fence.RefusedError)(nil)
		switch {
		case err == nil, errors.As(err, &refused) && !refused.Unnamed:
			return nil
		case ctx.Err() != nil, refused == nil && !errors.Is(err, fence.ErrUnknown):
			return err
		}
	}
}

// applyOpen opens the partitions that are not, telemetry in their order, the first
// ones with the rules.
func (a *applier) applyOpen(ctx context.Context) error {
	var open []schemas.Partition
	for _, p := range a.layout.partitions() {
		if !a.opened[p] {
			open = append(open, p)
		}
	}
	if len(open) == 0 {
		return nil
	}
	names := make([]string, len(open))
	for i, p := range open {
		names[i] = p.String()
	}
	entry := schemas.ControlEntry{Open: open}
	if len(a.opened) == 0 {
		entry.Rules = a.layout.Rules
	}
	return a.change(Change{schemas.SubjectControl, "open", strings.Join(names, " ")}, func() error {
		_, err := AppendControl(ctx, a.log, entry)
		return err
	})
}
