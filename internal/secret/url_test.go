package secret_test

import (
	"fmt"
	"testing"

	"github.com/dermai/millrace/internal/secret"
)

func TestURL(t *testing.T) {
	for given, want := range map[string]string{
		"":                                      "",
		"nats://localhost:4222":                 "nats://localhost:4222",
		"nats://ann:pw@a:4222, nats://token@b":  "nats://[redacted]@a:4222,nats://[redacted]@b",
		"https://hooks.example.com/x?token=abc": "https://[redacted]@hooks.example.com/x",
		"ann:pw@host:4222":                      "[redacted]",
		"://pw":                                 "[redacted]",
	} {
		u := secret.NewURL(given)
		for _, shown := range []string{u.String(), fmt.Sprint(u), fmt.Sprintf("%s", u), fmt.Sprintf("%+v", &u)} {
			if shown != want {
				t.Errorf("%q is shown as %q, want %q", given, shown, want)
			}
		}
		if fmt.Sprintf("%v", struct{ u secret.URL }{u}) == fmt.Sprintf("{%s}", given) && given != want {
			t.Errorf("%q is shown inside a struct", given)
		}
		if u.Reveal() != given || u.IsZero() != (given == "") || !u.Equal(secret.NewURL(given)) {
			t.Errorf("%q: kept as %q", given, u.Reveal())
		}
	}
	var u secret.URL
	if err := u.UnmarshalText([]byte("nats://[redacted]@a")); err == nil {
		t.Error("took what a URL is shown as for the URL")
	}
	if err := u.UnmarshalText([]byte("nats://pw@a")); err != nil || u.Reveal() != "nats://pw@a" {
		t.Errorf("read %v, %v", u, err)
	}
}
