package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rs/zerolog"

	"github.com/dermai/millrace/internal/secret"
)

const value = "xoxb-1234"

type exported struct{ Token secret.Text }

type unexported struct {
	token  secret.Text
	tokens []secret.Text
}

// TestNeverShown prints secrets in every way there is.
func TestNeverShown(t *testing.T) {
	token := secret.New(value)
	inside := unexported{token, []secret.Text{token}}
	var out bytes.Buffer
	for _, verb := range "vsqxXdbtpTUeEfgGco" {
		for _, flag := range []string{"", "+", "#", "20"} {
			format := "%" + flag + string(verb) + "\n"
			for _, v := range []any{token, &token, exported{token}, inside, &inside, []secret.Text{token}, map[string]any{"a": token}} {
				fmt.Fprintf(&out, format, v)
			}
		}
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		for _, v := range []any{token, exported{token}, map[string]secret.Text{"a": token}} {
			b, err := marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(b)
		}
	}
	log := zerolog.New(&out)
	log.Info().Any("a", token).Interface("b", exported{token}).Stringer("c", token).Err(fmt.Errorf("x %v: %w", token, errors.New("y"))).Send()
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", token, "b", exported{token})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", token, "b", inside)

	for _, leak := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value))} {
		if i := strings.Index(out.String(), leak); i >= 0 {
			s := out.String()
			t.Errorf("shown: %s", s[max(0, i-40):min(len(s), i+40)])
		}
	}
	if !strings.Contains(out.String(), secret.Redacted) {
		t.Error("nothing was printed")
	}
}

func TestText(t *testing.T) {
	var zero, read secret.Text
	if !zero.IsZero() || zero.Reveal() != "" || zero.String() != "" || !zero.Equal(secret.New("")) {
		t.Errorf("zero: %q %q", zero.Reveal(), zero.String())
	}
	if err := read.UnmarshalText([]byte(value)); err != nil || read.Reveal() != value || !read.Equal(secret.New(value)) || read.Equal(zero) {
		t.Errorf("read %q, %v", read.Reveal(), err)
	}
	if err := read.UnmarshalText([]byte(secret.Redacted)); err == nil {
		t.Error("took what a secret is shown as for a secret")
	}
}
