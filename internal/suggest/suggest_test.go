package suggest_test

import (
	"testing"

	"github.com/dermai/millrace/internal/suggest"
)

func TestDidYouMean(t *testing.T) {
	candidates := []string{"window", "where", "for", "fire", "keep_firing_for", "annotations"}
	for word, want := range map[string]string{
		"windwo":        "window", // swapped
		"wher":          "where",  // missing
		"annotationss":  "annotations",
		"keep_firing-f": "keep_firing_for",
		"WINDOW":        "window",
		"fro":           "for",
		"":              "",
		"threshold":     "",
	} {
		t.Run(word, func(t *testing.T) {
			if want != "" {
				want = "; did you mean " + want + "?"
			}
			if got := suggest.DidYouMean(word, candidates); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
