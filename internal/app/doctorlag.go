package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/fence"
	"github.com/dermai/millrace/internal/proof"
	"github.com/dermai/millrace/schemas"
)

func (x *examination) processors(ctx context.Context) error {
	members, err := x.conn.Members(ctx)
	if err != nil {
		return err
	}
	if len(members) == 0 {
		return x.says("processors", "bad", "none runs: nothing is decided and nobody is told", "start a processor, or millrace up")
	}
	return x.says("processors", "ok", plural(len(members), "processor"), "")
}

// reduced tells how far the events are counted, which is as far as they can be
// decided.
func (x *examination) reduced(ctx context.Context) error {
	partitions, err := openPartitions(ctx, x.log)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		head, err := x.log.Head(ctx, p.Partials())
		if err != nil {
			return err
		}
		var covered schemas.Partial
		if head.Header[schemas.HeaderType] == schemas.TypePartial {
			if err := schemas.DecodeInto(head.Data, &covered); err != nil {
				return err
			}
		}
		waits, err := x.oldest(ctx, p.Stream(), covered.To.Seq+1)
		if err != nil {
			return err
		}
		if waits > x.Stale {
			return x.says("reduce", "bad", fmt.Sprintf("%s: events wait for %s to be counted", p.Stream(), waits.Round(time.Second)),
				"start a processor, or more of them, and read what they log")
		}
	}
	return x.says("reduce", "ok", "no event waits to be counted", "")
}

// oldest is how long the first message from a sequence on has waited, of those
// that hold events. 0: there is none.
func (x *examination) oldest(ctx context.Context, stream string, from uint64) (time.Duration, error) {
	info, err := x.log.Info(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", stream, err)
	}
	for next := max(from, info.First); next <= info.Last && ctx.Err() == nil; {
		entries, err := x.log.Read(ctx, stream, next, readMax)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", stream, err)
		}
		if len(entries) == 0 {
			arrived(ctx, x.log)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Subject, ".tick") && e.Header[schemas.HeaderFinal] == "" {
				return time.Duration(x.now - e.Time), nil
			}
			next = e.Seq + 1
		}
	}
	return 0, ctx.Err()
}

// told tells of each receiver whether it is on, and takes what it is sent.
func (x *examination) told(ctx context.Context) error {
	built, err := x.receivers()
	if err != nil {
		return err
	}
	last := map[string]schemas.Delivery{} // by notification
	err = scanAs(ctx, x.log, schemas.StreamDeliveries, "deliveries.", schemas.TypeDelivery, func(_ fence.Entry, d *schemas.Delivery) error {
		if d.Outcome != schemas.DeliveryStarted || last[d.Notification].Outcome == "" {
			last[d.Notification] = *d
		}
		return nil
	})
	if err != nil {
		return err
	}
	waits := map[string]time.Duration{} // by receiver, the longest
	why := map[string]string{}
	err = scanAs(ctx, x.log, schemas.StreamNotify, "notify.", schemas.TypeNotification, func(e fence.Entry, n *schemas.Notification) error {
		d := last[n.ID]
		if d.Outcome == schemas.DeliveryDelivered || d.Outcome == schemas.DeliveryRejected {
			return nil
		}
		if w := time.Duration(x.now - e.Time); w > waits[n.Receiver] {
			waits[n.Receiver], why[n.Receiver] = w, strings.TrimPrefix(d.Outcome+": "+d.Detail, ": ")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(built) == 0 && !x.config.NATS.URL.IsZero() {
		return x.says("receivers", "bad", "there are none: nobody is told of alerts", "add some to receivers in the configuration file")
	}
	for _, name := range slices.Sorted(maps.Keys(built)) {
		check := "receiver " + name
		reason, off := built[name].Off()
		switch {
		case off:
			err = x.says(check, "off", reason, "")
		case waits[name] > x.Stale:
			err = x.says(check, "bad", fmt.Sprintf("a notification waits for %s (%s)", waits[name].Round(time.Second), cmp.Or(why[name], "not tried")),
				"run millrace receivers test "+name)
		default:
			err = x.says(check, "ok", "has what it was to be told", "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// archived tells how far the events are archived.
func (x *examination) archived(ctx context.Context) error {
	if !x.config.Archive.Enabled {
		return x.says("archive", "off", "archive.enabled is false: streams forget what is older than 72h", "")
	}
	const mend = "start an archiver, and read what it logs"
	store, err := x.readArchive()
	if err != nil {
		return x.says("archive", "bad", err.Error(), mend)
	}
	defer store.Close()
	partitions, err := openPartitions(ctx, x.log)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		info, err := x.log.Info(ctx, p.Stream())
		if err != nil {
			return err
		}
		end := uint64(0)
		for o, err := range archive.List(ctx, store, archive.Filter{Stream: p.Stream(), From: info.First}) {
			if err != nil {
				return err
			}
			end = max(end, o.Index.Last)
		}
		waits, err := x.oldest(ctx, p.Stream(), end+1)
		if err != nil {
			return err
		}
		if waits > x.Stale+cmp.Or(x.config.Archive.CutAge, 5*time.Minute) {
			return x.says("archive", "bad", fmt.Sprintf("%s: events wait for %s to be archived", p.Stream(), waits.Round(time.Second)), mend)
		}
	}
	return x.says("archive", "ok", "no event waits for longer than the archive lets it", "")
}

// verifyLate is how old the last day may be that was looked at.
const verifyLate = 48 * time.Hour

// verified tells what was found when a day was last looked at.
func (x *examination) verified(ctx context.Context) error {
	if !x.config.Archive.Enabled || !x.config.Verify.Daily {
		return x.says("verify", "off", "verify.daily is false: nobody looks whether something is missing", "")
	}
	store, err := x.readArchive()
	if err != nil {
		return x.says("verify", "bad", err.Error(), "start an archiver, and read what it logs")
	}
	defer store.Close()
	r, err := proof.Last(ctx, store)
	if err != nil {
		return err
	}
	if r == nil {
		return x.says("verify", "ok", "no day is over and looked at yet", "")
	}
	detail := fmt.Sprintf("%s of the day before %s, looked at %s", plural(len(r.Findings)+r.More, "finding"), clock(r.Until), clock(r.Ended))
	if !r.OK() {
		return x.says("verify", "bad", detail+"; the first: "+r.Findings[0].String(), "run millrace verify --from "+clock(r.Since)+" --to "+clock(r.Until))
	}
	if time.Duration(x.now-r.Until) > verifyLate {
		return x.says("verify", "bad", detail, "read why in the archiver's log, or run millrace verify")
	}
	return x.says("verify", "ok", detail, "")
}

// quarantineRecent is how recent a quarantined item is news.
const quarantineRecent = 24 * time.Hour

func (x *examination) quarantine(ctx context.Context) error {
	all, recent := 0, 0
	err := scan(ctx, x.log, schemas.StreamQuarantine, 0, func(e fence.Entry) error {
		all++
		if time.Duration(x.now-e.Time) < quarantineRecent {
			recent++
		}
		return nil
	})
	if err != nil {
		return err
	}
	detail := fmt.Sprintf("%s, %d of the last 24h", plural(all, "item"), recent)
	if recent > 0 {
		return x.says("quarantine", "bad", detail, "see the reasons with millrace quarantine ls, and mend who sends that")
	}
	return x.says("quarantine", "ok", detail, "")
}
