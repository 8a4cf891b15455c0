package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// GroupValueBytes bounds one value of a group, so that the rows of one event
// always fit a message. A longer value is cut and ends in ~ and eight hex digits
// of the SHA-256 of the whole, so that different values stay different groups.
const GroupValueBytes = 256

// Label is one label of a group.
type Label struct {
	Name, Value string
}

// GroupOf writes labels as a group: name=value, joined by commas, in the order
// given. In names and values the bytes , = % and control characters, and bytes
// that are not UTF-8, become %XX. No names: "".
func GroupOf(names, values []string) string {
	var b []byte
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLabel(b, name)
		b = append(b, '=')
		b = appendLabel(b, values[i])
	}
	return string(b)
}

func appendLabel(dst []byte, s string) []byte {
	if len(s) > GroupValueBytes {
		sum := sha256.Sum256([]byte(s))
		end := "~" + hex.EncodeToString(sum[:4])
		n := GroupValueBytes - len(end)
		for range utf8.UTFMax - 1 {
			if !utf8.RuneStart(s[n]) {
				n--
			}
		}
		s = s[:n] + end
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if n == 1 {
			dst = appendEscaped(dst, s[i], isLabel(s[i]) && r != utf8.RuneError)
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// isLabel tells which bytes stay in a label.
func isLabel(c byte) bool {
	return c >= ' ' && c != 0x7f && c != ',' && c != '=' && c != '%'
}

// ParseGroup gives the labels of a group. What GroupOf does not write, such as
// the group of what a cap did not admit, has none.
func ParseGroup(group string) []Label {
	if group == "" {
		return nil
	}
	var names, values []string
	for pair := range strings.SplitSeq(group, ",") {
		name, value, ok := strings.Cut(pair, "=")
		n, ok1 := unescape(name, isLabel)
		v, ok2 := unescape(value, isLabel)
		if !ok || !ok1 || !ok2 {
			return nil
		}
		names, values = append(names, n), append(values, v)
	}
	if GroupOf(names, values) != group {
		return nil
	}
	labels := make([]Label, len(names))
	for i := range names {
		labels[i] = Label{names[i], values[i]}
	}
	return labels
}
