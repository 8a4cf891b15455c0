package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// Setting is one value as config show prints it: without secrets.
type Setting struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
	From  string          `json:"from"` // see Loaded.Where
}

// Show lists every value in force, in the order of the fields, and no secret.
func (l *Loaded) Show() ([]Setting, error) {
	s := shower{loaded: l}
	s.show(reflect.ValueOf(l.Config), "")
	return s.settings, s.err
}

// YAML is the configuration in force as a file, with where each value comes
// from as a comment. It contains no secret.
func (l *Loaded) YAML() ([]byte, error) {
	s := shower{loaded: l}
	s.show(reflect.ValueOf(l.Config), "")
	return s.text.Bytes(), s.err
}

// commentColumn is where comments begin, if the value leaves room.
const commentColumn = 48

// shower writes a value as a list of settings and as YAML at once.
type shower struct {
	loaded   *Loaded
	settings []Setting
	text     bytes.Buffer
	indent   string
	err      error
}

func (s *shower) show(v reflect.Value, path string) {
	for _, f := range fields(v) {
		if nothing := f.value.Kind() == reflect.Slice && f.value.IsNil(); nothing || f.optional && f.value.IsZero() {
			continue
		}
		s.field(f.name+":", f.value, strings.TrimPrefix(path+"."+f.name, "."))
	}
}

func (s *shower) field(key string, v reflect.Value, path string) {
	switch {
	case isLeaf(v.Type()):
		s.leaf(key, v, path)
	case v.Kind() == reflect.Slice:
		s.line(key)
		for i := range v.Len() {
			s.item(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	default:
		s.line(key)
		s.nested("  ", func() { s.show(v, path) })
	}
}

// item writes one element of a list: a leaf, or a struct below a lone dash.
func (s *shower) item(v reflect.Value, path string) {
	if isLeaf(v.Type()) {
		s.nested("  ", func() { s.leaf("-", v, path) })
		return
	}
	s.line("  -")
	s.nested("    ", func() { s.show(v, path) })
}

func (s *shower) leaf(key string, v reflect.Value, path string) {
	b, err := yaml.MarshalWithOptions(v.Interface(), yaml.Flow(true))
	if err != nil {
		s.err = fmt.Errorf("show %s: %w", path, err)
		return
	}
	asJSON, err := yaml.YAMLToJSON(b)
	if err != nil {
		s.err = fmt.Errorf("show %s: %w", path, err)
		return
	}
	value, from := strings.TrimSpace(string(b)), s.loaded.Where(path)
	s.settings = append(s.settings, Setting{path, bytes.TrimSpace(asJSON), from})
	s.line(fmt.Sprintf("%-*s # %s", commentColumn-len(s.indent), key+" "+value, from))
}

func (s *shower) line(text string) {
	s.text.WriteString(s.indent + text + "\n")
}

func (s *shower) nested(indent string, write func()) {
	outer := s.indent
	s.indent += indent
	write()
	s.indent = outer
}
