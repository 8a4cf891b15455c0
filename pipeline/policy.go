package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// policy is a field of a stream on which a promise rests.
type policy struct {
	field   string
	value   func(c jetstream.StreamConfig) any
	promise string // what breaks
	mend    string // how to set it, after "nats stream edit NAME"; "": create the stream anew
}

// policies lists the fields that Apply refuses to find otherwise than it makes
// them: mending them is for whoever knows why they are so.
var policies = []policy{
	{"storage", func(c jetstream.StreamConfig) any { return c.Storage }, "what is stored must survive a restart", ""},
	{"retention", func(c jetstream.StreamConfig) any { return c.Retention }, "reading must not remove messages", ""},
	{"discard", func(c jetstream.StreamConfig) any { return c.Discard }, "a full stream must refuse, not drop what is stored", "--discard=new"},
	{"max age", func(c jetstream.StreamConfig) any { return c.MaxAge }, "messages must not vanish before they are used", "--max-age=0"},
	{"max messages", func(c jetstream.StreamConfig) any { return unlimited(c.MaxMsgs) }, "the stream is bounded by bytes alone", "--max-msgs=-1"},
	{"max messages per subject", func(c jetstream.StreamConfig) any { return unlimited(c.MaxMsgsPerSubject) }, "every message of a subject is needed", "--max-msgs-per-subject=-1"},
	{"max message size", func(c jetstream.StreamConfig) any { return unlimited(int64(c.MaxMsgSize)) }, "frames have up to 512 KiB, checkpoints up to 1 MiB", "--max-msg-size=-1"},
	{"no ack", func(c jetstream.StreamConfig) any { return c.NoAck }, "a publish that returned is stored", "--ack"},
	{"sealed", func(c jetstream.StreamConfig) any { return c.Sealed }, "the stream takes nothing", ""},
	{"deny purge", func(c jetstream.StreamConfig) any { return c.DenyPurge }, "what is archived must be trimmed, or the stream fills up", ""},
	{"allow rollup", func(c jetstream.StreamConfig) any { return c.AllowRollup }, "any publisher could remove what others stored by a header", "--no-allow-rollup"},
	{"allow message TTL", func(c jetstream.StreamConfig) any { return c.AllowMsgTTL }, "any publisher could let events expire by a header", ""},
	{"allow message schedules", func(c jetstream.StreamConfig) any { return c.AllowMsgSchedules }, "messages must be stored when they are acknowledged", ""},
	{"allow message counter", func(c jetstream.StreamConfig) any { return c.AllowMsgCounter }, "the stream takes numbers only", ""},
	{"persist mode", func(c jetstream.StreamConfig) any { return c.PersistMode }, "a publish that returned is on disk", ""},
	{"mirror", func(c jetstream.StreamConfig) any { return c.Mirror != nil }, "a mirror takes no messages", ""},
	{"sources", func(c jetstream.StreamConfig) any { return len(c.Sources) > 0 }, "messages of other streams have no fence", ""},
	{"subject transform", func(c jetstream.StreamConfig) any { return c.SubjectTransform != nil }, "a subject is the name of its writer", ""},
}

// unlimited makes one of the ways to say that there is no limit.
func unlimited(n int64) int64 {
	if n <= 0 {
		return -1
	}
	return n
}

// broken reports every policy of an existing stream that breaks a promise.
func broken(is, want jetstream.StreamConfig) error {
	var faults []error
	for _, p := range policies {
		got, wanted := p.value(is), p.value(want)
		if got == wanted || switched(is, want) && (p.field == "discard" || p.field == "max age") {
			continue
		}
		mend := "move its data away and delete the stream, then apply again"
		if p.mend != "" {
			mend = "mend it with: nats stream edit " + is.Name + " " + p.mend
		}
		faults = append(faults, fmt.Errorf("stream %s: %s is %v, want %v: %s; %s", is.Name, p.field, got, wanted, p.promise, mend))
	}
	return errors.Join(faults...)
}

// switched tells that a stream of events is as a layout with an archiver makes
// it, and the layout is without one, or the other way round.
func switched(is, want jetstream.StreamConfig) bool {
	kept := func(c jetstream.StreamConfig) bool { return c.Discard == jetstream.DiscardNew && c.MaxAge == 0 }
	aged := func(c jetstream.StreamConfig) bool {
		return c.Discard == jetstream.DiscardOld && c.MaxAge == ReplayWindow
	}
	return strings.HasPrefix(is.Name, "EVENTS_") && (kept(is) && aged(want) || aged(is) && kept(want))
}

// differences lists what Apply changes of an existing stream, and makes the
// configuration that it gets: is, with those fields as want has them.
func differences(is, want jetstream.StreamConfig) (jetstream.StreamConfig, []string) {
	var diff []string
	change := func(field string, from, to any) {
		diff = append(diff, fmt.Sprintf("%s %v to %v", field, from, to))
	}
	to := is
	if a, b := slices.Sorted(slices.Values(is.Subjects)), slices.Sorted(slices.Values(want.Subjects)); !slices.Equal(a, b) {
		change("subjects", a, b)
		to.Subjects = want.Subjects
	}
	if is.MaxBytes != want.MaxBytes {
		change("max bytes", is.MaxBytes, want.MaxBytes)
		to.MaxBytes = want.MaxBytes
	}
	if is.Discard != want.Discard {
		change("discard", is.Discard, want.Discard)
		to.Discard = want.Discard
	}
	if is.MaxAge != want.MaxAge {
		change("max age", is.MaxAge, want.MaxAge)
		to.MaxAge = want.MaxAge
	}
	if is.Replicas != want.Replicas {
		change("replicas", is.Replicas, want.Replicas)
		to.Replicas = want.Replicas
	}
	if is.DenyDelete != want.DenyDelete {
		change("deny delete", is.DenyDelete, want.DenyDelete)
		to.DenyDelete = want.DenyDelete
	}
	if is.AllowDirect != want.AllowDirect {
		change("allow direct", is.AllowDirect, want.AllowDirect)
		to.AllowDirect = want.AllowDirect
	}
	if want.Duplicates != 0 && is.Duplicates != want.Duplicates {
		change("duplicate window", is.Duplicates, want.Duplicates)
		to.Duplicates = want.Duplicates
	}
	return to, diff
}
