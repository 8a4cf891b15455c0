package notify

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Options are the options of a receiver, as they were written. They are never
// printed: a text option may be a secret.
type Options struct{ text []byte }

// NewOptions takes options as YAML.
func NewOptions(text []byte) Options { return Options{text} }

// Decode reads the options into a struct, strictly. Errors name the field and the
// mend, and never the value.
func (o Options) Decode(into any) error {
	if len(strings.TrimSpace(string(o.text))) == 0 || string(o.text) == "null" {
		return nil
	}
	if err := yaml.UnmarshalWithOptions(o.text, into, yaml.Strict()); err != nil {
		return optionFault(err, reflect.TypeOf(into).Elem())
	}
	return nil
}

// optionFault says which option of a struct is wrong, and what it wants.
func optionFault(err error, options reflect.Type) error {
	var unknown *yaml.UnknownFieldError
	var wrong *yaml.TypeError
	var node *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("there is no option %s; use one of %s", unknown.Token.Value, strings.Join(optionNames(options, nil), ", "))
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: use %s", optionAt(wrong.Token), wanted(wrong.DstType))
	case errors.As(err, &node) && node.Expected == ast.SequenceType:
		return fmt.Errorf("%s: use a list, such as [a, b]", optionAt(node.Token))
	case errors.As(err, &node) && node.Expected == ast.MappingType:
		return fmt.Errorf("%s: use keys and values", optionAt(node.Token))
	}
	if strings.HasPrefix(err.Error(), "time: ") { // the value, and not where it stands
		return fmt.Errorf("%s: use %s", strings.Join(optionNames(options, duration), ", "), wanted(duration))
	}
	return errors.New(withoutSource(err))
}

var duration = reflect.TypeFor[time.Duration]()

// optionNames are the options of a struct of a type, nil for each, sorted. Those of
// structs inline are among them.
func optionNames(options, of reflect.Type) (names []string) {
	for f := range options.Fields() {
		name, flags, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case flags == "inline":
			names = append(names, optionNames(f.Type, of)...)
		case name != "" && name != "-" && (of == nil || f.Type == of):
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// optionAt is the key that stands before a value.
func optionAt(value *token.Token) string {
	for t := value; t != nil; t = t.Prev {
		if t.Type == token.MappingValueType && t.Prev != nil {
			return t.Prev.Value
		}
	}
	return "options"
}

// wanted says how a value of a type is written.
func wanted(t reflect.Type) string {
	if t == duration {
		return "a duration such as 30s or 5m"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Slice:
		return "a list, such as [a, b]"
	case reflect.Map, reflect.Struct:
		return "keys and values"
	case reflect.Pointer:
		return wanted(t.Elem())
	}
	return "a number"
}

// withoutSource is the message of a YAML error without the lines it is about,
// which may hold a secret.
func withoutSource(err error) string {
	return strings.TrimSpace(yaml.FormatError(err, false, false))
}

func (o Options) String() string { return "[hidden]" }

// Format prints String for every verb.
func (o Options) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, o.String()) }

// MarshalText writes String.
func (o Options) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
