package rules

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is one mistake in a rule file: where it stands, and how to mend it.
type Fault struct {
	File   string
	Line   int    // from 1
	Column int    // from 1
	Alert  string // the rule, "" outside of one
	Field  string // the key, "" where the whole is wrong
	Text   string // what is wrong and how to mend it
}

// Error is "file:line:column: alert X: field: text".
func (f *Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", f.File, f.Line, f.Column)
	if f.Alert != "" {
		b.WriteString("alert " + f.Alert + ": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Text)
	return b.String()
}

// faults collects the mistakes of one file.
type faults []*Fault

// err joins the faults in the order in which a reader of the file meets them.
func (fs faults) err() error {
	slices.SortStableFunc(fs, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(fs))
	for i, f := range fs {
		errs[i] = f
	}
	return errors.Join(errs...)
}
