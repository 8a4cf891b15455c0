package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/dermai/millrace/internal/suggest"
)

// DefaultFile is read from the working directory, if it is there and no other
// file is named.
const DefaultFile = "millrace.yaml"

// Sources are the places that Load reads.
type Sources struct {
	// File is the configuration file. Default: DefaultFile, if there is one.
	File string
	// Environ are variables as NAME=value. Default: none.
	Environ []string
	// Flags are values by path, such as nats.url. Default: none.
	Flags map[string]string
	// Known tells which variables of the prefix MILLRACE_ are somebody else's,
	// such as those of a command's own flags. Default: none.
	Known func(name string) bool
}

// Loaded is a configuration and where it comes from.
type Loaded struct {
	Config
	// File that was read, "" if none was.
	File string
	// Warnings are what looks like a mistake and may be none.
	Warnings []string

	origins map[string]string
}

// Where tells where the value of a path comes from: "default",
// "file:line:column", the name of the variable, or "flag".
func (l *Loaded) Where(path string) string {
	if origin, ok := l.origins[path]; ok {
		return origin
	}
	return "default"
}

// Fault is one mistake in a configuration.
type Fault struct {
	Where string // see Loaded.Where; "" if nobody set the value
	Path  string // of the field
	Text  string // what is wrong and how to mend it
}

func (f *Fault) Error() string {
	s := f.Text
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Where != "" {
		s = f.Where + ": " + s
	}
	return s
}

// Load reads every source, checks the whole and joins all faults.
func Load(src Sources) (*Loaded, error) {
	l := &Loaded{Config: Default(), File: src.File, origins: map[string]string{}}
	var faults []error
	text, err := l.readFile()
	if err != nil {
		return nil, err
	}
	if l.File != "" {
		faults = decodeFile(l, text)
	}
	faults = append(faults, l.environment(src)...)
	faults = append(faults, l.flags(src.Flags)...)
	if len(faults) == 0 {
		faults = l.invalid()
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("configuration:\n%w", errors.Join(faults...))
	}
	return l, nil
}

func (l *Loaded) readFile() ([]byte, error) {
	name := l.File
	if name == "" {
		name = DefaultFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && l.File == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	l.File = name
	return text, nil
}

// environment sets what variables say. An empty variable says nothing.
func (l *Loaded) environment(src Sources) []error {
	env := map[string]string{}
	for _, pair := range src.Environ {
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			env[name] = value
		}
	}
	var faults []error
	names := map[string]bool{"MILLRACE_CONFIG": true}
	fields := settings(&l.Config)
	for _, path := range slices.Sorted(maps.Keys(fields)) {
		ours := envName(path)
		for _, name := range []string{seedNames[path], ours} {
			names[name], names[name+"_FILE"] = true, isSecret(fields[path].Type())
			if err := l.variable(path, name, fields[path], env); err != nil {
				faults = append(faults, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, "MILLRACE_") && !names[name] && (src.Known == nil || !src.Known(name)) && !ofCluster(name) {
			l.Warnings = append(l.Warnings, fmt.Sprintf("environment: %s sets nothing%s", name, suggest.DidYouMean(name, slices.Collect(maps.Keys(names)))))
		}
	}
	return faults
}

// variable sets a value from its variable, or from the file that the variable
// with _FILE names.
func (l *Loaded) variable(path, name string, v reflect.Value, env map[string]string) error {
	text, given := env[name]
	if file, ok := env[name+"_FILE"]; ok && isSecret(v.Type()) {
		if given {
			return &Fault{name, path, name + "_FILE is set too: use one of the two"}
		}
		name += "_FILE"
		var err error
		if text, err = readSecret(file); err != nil {
			return &Fault{name, path, err.Error()}
		}
		given = true
	}
	if !given {
		return nil
	}
	return l.set(path, name, v, text)
}

func (l *Loaded) flags(flags map[string]string) []error {
	var faults []error
	fields := settings(&l.Config)
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		v, ok := fields[path]
		if !ok {
			faults = append(faults, &Fault{"flag", path, "there is no such setting" + suggest.DidYouMean(path, slices.Collect(maps.Keys(fields)))})
			continue
		}
		if err := l.set(path, "flag", v, flags[path]); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// set replaces a value.
func (l *Loaded) set(path, origin string, v reflect.Value, text string) error {
	fresh := reflect.New(v.Type()).Elem()
	if err := setText(fresh, text); err != nil {
		return &Fault{origin, path, err.Error()}
	}
	v.Set(fresh)
	l.origins[path] = origin
	return nil
}

// invalid lists the faults of the whole, each with the place of its value.
func (l *Loaded) invalid() []error {
	err := l.Validate()
	if err == nil {
		return nil
	}
	var faults []error
	for _, err := range Flatten(err) {
		if fault, ok := errors.AsType[*Fault](err); ok {
			fault.Where = l.origins[fault.Path]
		} else if l.File != "" {
			err = fmt.Errorf("%s: %w", l.File, err)
		}
		faults = append(faults, err)
	}
	return faults
}

// Flatten undoes errors.Join, at every depth.
func Flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, Flatten(e)...)
	}
	return out
}

// ofCluster tells the variables that Kubernetes sets for a service that is
// called millrace, or that starts so.
func ofCluster(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.Contains(name, "_PORT_") || strings.HasSuffix(name, "_PORT")
}

// secretBytes bounds a file with a secret.
const secretBytes = 64 << 10

// readSecret reads a file with one secret; a newline at its end is not part of
// it.
func readSecret(name string) (string, error) {
	b, err := os.ReadFile(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("secret: %w", err)
	case len(b) > secretBytes:
		return "", fmt.Errorf("secret: %s has more than %d bytes: name the file that holds the secret alone", name, secretBytes)
	case len(strings.TrimRight(string(b), "\r\n")) == 0:
		return "", fmt.Errorf("secret: %s is empty", name)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
