package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// printer writes what a command was asked for: as text, or as JSON with one
// object a line. Text that comes from events has its control characters
// escaped, so that it cannot drive the terminal.
type printer struct {
	w    *bufio.Writer
	tab  *tabwriter.Writer
	json bool
}

func newPrinter(w io.Writer, format string) *printer {
	buffered := bufio.NewWriter(w)
	return &printer{w: buffered, tab: tabwriter.NewWriter(buffered, 0, 8, 2, ' ', 0), json: format == "json"}
}

// print writes one thing: v as JSON, or cells as a row of a table.
func (p *printer) print(v any, cells ...any) error {
	if p.json {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		_, err = p.w.Write(append(b, '\n'))
		return written(err)
	}
	for i, c := range cells {
		if i > 0 {
			_, _ = p.tab.Write([]byte{'\t'})
		}
		_, _ = io.WriteString(p.tab, printable(fmt.Sprint(c)))
	}
	_, err := p.tab.Write([]byte{'\n'})
	return written(err)
}

// line writes one line of data as it is, or escaped for a terminal.
func (p *printer) line(b []byte, escape bool) error {
	if escape {
		b = []byte(printable(string(b)))
	}
	if _, err := p.w.Write(b); err != nil {
		return written(err)
	}
	return written(p.w.WriteByte('\n'))
}

// header names the columns that follow. JSON has none.
func (p *printer) header(names ...any) error {
	if p.json {
		return nil
	}
	return p.print(nil, names...)
}

// flush writes what is buffered. A table's columns are aligned between flushes,
// so whoever follows something live flushes after each line.
func (p *printer) flush() error {
	if err := p.tab.Flush(); err != nil {
		return written(err)
	}
	return written(p.w.Flush())
}

func written(err error) error {
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// printable escapes what is not meant to be seen as text.
func printable(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden tells control and formatting characters, such as escape sequences,
// new lines and marks that change the direction of text.
func hidden(r rune) bool { return !unicode.IsPrint(r) }
