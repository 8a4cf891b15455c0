package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// fingerprint hashes everything of the rule that changes a fold or a decision,
// in a form that does not depend on how the file is written. The name is part
// of it, since no two rules may share their state. The form is permanent:
// another form would make every rule start anew.
func (d *draft) fingerprint() string {
	var b strings.Builder
	put := func(key string, v any) { fmt.Fprintf(&b, "%s=%q\n", key, fmt.Sprint(v)) }
	put("alert", d.Name)
	put("on", d.Kinds)
	put("where", d.where.canonical())
	for i, f := range d.by {
		put("by", f.String())
		put("label", d.Labels[i])
	}
	put("aggregate", d.Aggregate)
	put("quantile", formatNumber(d.Quantile))
	put("field", d.aggregate.canonical())
	put("window", int64(d.Window))
	put("fire", d.Fire.String())
	if d.Resolve != nil {
		put("resolve", d.Resolve.String())
	}
	put("min_samples", d.MinSamples)
	put("for", int64(d.For))
	put("keep_firing_for", int64(d.Keep))
	put("no_data", d.NoData)
	put("cap", cmp.Or(d.Cap, DefaultCap))
	put("expect", d.Expect)
	for _, k := range d.Keys {
		put("key", k)
	}
	put("worst", d.worst.canonical())
	shown := make([]string, len(d.evidence))
	for i, f := range d.evidence {
		shown[i] = f.String()
	}
	slices.Sort(shown)
	put("evidence", shown)
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

// canonical is the expression in one form, however it was written.
func (x *expression) canonical() string {
	if x == nil {
		return ""
	}
	return x.source
}

// String is the comparison as a rule file has it, without percent.
func (c Comparison) String() string { return c.Op + " " + formatNumber(c.Value) }
