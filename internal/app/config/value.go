package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Path names a file or a directory. In a configuration file it is relative to
// the file's directory, in flags and variables to the working directory.
type Path string

// Size is a number of bytes: 1048576, 512KiB, 64MiB, 10MB.
type Size int64

var units = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}

// String is the shortest exact way to write the size.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return "0B"
}

// MarshalText writes String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with an optional unit.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	number, scale := text, int64(1)
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.suffix); ok {
			number, scale = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/scale {
		return fmt.Errorf("%q: use a size such as 64MiB", text)
	}
	*s = Size(n * scale)
	return nil
}

// setText sets a value that a text can stand for, as flags, variables and the
// scalars of the file do.
func setText(v reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Interface().(type) {
	case time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q: use a duration such as 30s or 5m", text)
		}
		v.SetInt(int64(d))
		return nil
	case []Path, []string:
		for part := range strings.SplitSeq(text, ",") {
			item := reflect.New(v.Type().Elem()).Elem()
			item.SetString(strings.TrimSpace(part))
			v.Set(reflect.Append(v, item))
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		// The seed's applications write True and False.
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q: use true or false", text)
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q: use a whole number", text)
		}
		v.SetInt(int64(n))
	default:
		return fmt.Errorf("cannot be given as one text: set it in the configuration file")
	}
	return nil
}
