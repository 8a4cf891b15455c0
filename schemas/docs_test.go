package schemas_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dermai/millrace/schemas"
)

// TestDocs decodes every event in docs/events.md.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t, "event")
	n := 0
	for _, block := range strings.Split(string(text), "```json\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		for _, line := range schemas.Lines([]byte(block)) {
			n++
			if _, err := schemas.Decode(line, schemas.Origin{}); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if err := schema.Validate(parse(t, string(line))); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if n < 8 {
		t.Errorf("%d events", n)
	}
}

// TestDocsRedaction: the words that the document promises are the code's.
func TestDocsRedaction(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, words, _ := strings.Cut(string(text), "one of the words ")
	words, _, found := strings.Cut(words, ", or end in ")
	if !found {
		t.Fatal("the list of words is gone")
	}
	for word := range strings.SplitSeq(strings.Replace(words, " or ", ", ", 1), ", ") {
		for _, name := range []string{word, strings.ReplaceAll(word, " ", "_"), "the-" + strings.ToUpper(strings.ReplaceAll(word, " ", "-"))} {
			if !schemas.SecretName(name) {
				t.Errorf("%q passes", name)
			}
		}
	}
}
