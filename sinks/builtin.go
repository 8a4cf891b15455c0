package sinks

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dermai/millrace/internal/secret"
	"github.com/dermai/millrace/notify"
)

// Sink is a receiver that was built. Off tells that it has not been given what
// it needs, such as its secret, and why: then nothing is planned for it or sent
// to it, which is no error.
type Sink interface {
	notify.Receiver
	Off() (reason string, off bool)
}

// Env is what receivers take from the process they run in.
type Env struct {
	Dir    string              // for what receivers write
	Out    io.Writer           // of the console receiver
	Getenv func(string) string // nil: no variables
	Now    func() time.Time    // for dates in Retry-After; nil: time.Now
}

// Builder makes a receiver of one type from its options. Errors name the field
// and the mend, never a value.
type Builder func(name string, options notify.Options, env Env) (Sink, error)

// Builtin are the types of receivers by the name they have in the
// configuration. The map is the caller's. Package millrace runs the programs with
// types of one's own beside them.
func Builtin() map[string]Builder {
	return map[string]Builder{
		"slack":   buildSlack,
		"email":   buildEmail,
		"console": buildConsole,
		"outbox":  buildOutbox,
		"sentry":  buildSentry,
		"webhook": buildWebhook,
	}
}

// Open builds the receivers of a configuration, by name. All faults are joined.
func Open(cfg notify.Config, types map[string]Builder, env Env) (map[string]Sink, error) {
	if env.Getenv == nil {
		env.Getenv = func(string) string { return "" }
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	out := map[string]Sink{}
	var faults []error
	for i, r := range cfg.Receivers {
		build, ok := types[r.Type]
		if !ok {
			faults = append(faults, fmt.Errorf("receivers[%d].%s: no such type; use one of %s",
				i, r.Type, strings.Join(slices.Sorted(maps.Keys(types)), ", ")))
			continue
		}
		sink, err := build(r.Name, r.Options, env)
		if err != nil {
			faults = append(faults, fmt.Errorf("receivers[%d].%s: %w", i, r.Type, err))
			continue
		}
		out[r.Name] = sink
	}
	return out, errors.Join(faults...)
}

// Secret is a text that no verb of fmt and no encoder shows; Reveal gives it. An
// option of this type can stand in the configuration as it is.
type Secret = secret.Text

// maxSecret bounds a file that holds a secret.
const maxSecret = 64 << 10

// ReadSecret takes a secret from the option, the file that the other option
// names, the variable, or the file that the variable with _FILE names; the first
// that is given.
func (env Env) ReadSecret(option string, value secret.Text, file, variable string) (secret.Text, error) {
	switch {
	case !value.IsZero() && file != "":
		return secret.Text{}, fmt.Errorf("%s and %s_file: give one of the two", option, option)
	case !value.IsZero():
		return value, nil
	case file != "":
		return secretFile(option+"_file", file)
	}
	if s := env.Getenv(variable); s != "" {
		return secret.New(strings.TrimSpace(s)), nil
	}
	if file := env.Getenv(variable + "_FILE"); file != "" {
		return secretFile(variable+"_FILE", file)
	}
	return secret.Text{}, nil
}

func secretFile(name, path string) (secret.Text, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.Text{}, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return secret.Text{}, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > maxSecret {
		return secret.Text{}, fmt.Errorf("%s: the file is larger than %d bytes; it should hold the secret alone", name, maxSecret)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return secret.Text{}, fmt.Errorf("%s: the file is empty; write the secret into it", name)
	}
	return secret.New(s), nil
}
