package config

import (
	"encoding"
	"reflect"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/dermai/millrace/internal/secret"
)

// field is one key of a struct of the configuration.
type field struct {
	name     string // the key
	value    reflect.Value
	optional bool // not shown while it is zero
}

// fields lists the keys of a struct, those of inlined structs among them.
func fields(v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			out = append(out, fields(v.Field(i))...)
		case name != "":
			out = append(out, field{name, v.Field(i), options == "omitempty"})
		}
	}
	return out
}

// isLeaf tells values that are set as a whole, by a text or by their own
// decoder, from structs and lists that hold such values.
func isLeaf(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) ||
		reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.BytesUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice, reflect.Pointer:
		return t.Elem().Kind() != reflect.Struct && isLeaf(t.Elem())
	}
	return true
}

// isSecret tells values that may be given as the name of a file.
func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[secret.Text]() || t == reflect.TypeFor[secret.URL]()
}

// isText tells leaves that one text can set.
func isText(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t {
	case reflect.TypeFor[time.Duration](), reflect.TypeFor[[]Path](), reflect.TypeFor[[]string]():
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int:
		return true
	}
	return false
}

// settings are the leaves that flags and variables can set, by path.
func settings(cfg *Config) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for _, f := range fields(v) {
			switch path := prefix + f.name; {
			case isLeaf(f.value.Type()) && isText(f.value.Type()):
				out[path] = f.value
			case f.value.Kind() == reflect.Struct && path != "route":
				walk(path+".", f.value)
			}
		}
	}
	walk("", reflect.ValueOf(cfg).Elem())
	return out
}

// envName is the variable of a path: MILLRACE_NATS_URL for nats.url.
func envName(path string) string {
	return "MILLRACE_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}
