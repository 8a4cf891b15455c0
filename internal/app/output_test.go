package app

import (
	"bytes"
	"errors"
	"testing"
)

func TestPrinter(t *testing.T) {
	thing := struct {
		Name string `json:"name"`
	}{"a\x1b[2Jb"}
	for format, want := range map[string]string{
		"text": "NAME                 COUNT\na\\u001b[2Jb          2\nå\\u202e\\u000a\\u0009  3\n",
		"json": `{"name":"a\u001b[2Jb"}` + "\n" + `"å"` + "\n",
	} {
		var out bytes.Buffer
		p := newPrinter(&out, format)
		err := errors.Join(
			p.header("NAME", "COUNT"),
			p.print(thing, thing.Name, 2),
			p.print("å", "å\u202e\n\t", 3),
			p.flush(),
		)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, out.String(), want)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestPrinterTellsOfAFullDisk(t *testing.T) {
	p := newPrinter(full{}, "text")
	if err := errors.Join(p.print(nil, "x"), p.flush()); err == nil {
		t.Error("nothing said")
	}
}
