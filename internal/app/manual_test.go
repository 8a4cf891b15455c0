package app

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestManual finds every command in the manual page, the comment of the program.
func TestManual(t *testing.T) {
	parser, err := kong.New(&millrace{}, kong.DefaultEnvars("MILLRACE"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../cmd/millrace/main.go")
	if err != nil {
		t.Fatal(err)
	}
	named := func(command []string) bool {
		for line := range strings.Lines(string(page)) {
			words := strings.Fields(strings.TrimPrefix(line, "//\t"))
			here := len(words) >= len(command)
			for i := 0; here && i < len(command); i++ {
				here = slices.Contains(strings.Split(words[i], "|"), command[i])
			}
			if here {
				return true
			}
		}
		return false
	}
	leaves := parser.Model.Leaves(true)
	for _, leaf := range leaves {
		if command := strings.Fields(leaf.Path()); !named(command) {
			t.Errorf("%q is not in it", strings.Join(command, " "))
		}
	}
	if len(leaves) < 30 {
		t.Errorf("%d commands", len(leaves))
	}
}
