package schemas

import "strings"

// NormalizeSQL replaces what a statement holds of people's data, strings and
// numbers, by ?, so that statements can be shown and counted. It knows no
// dialect, so where dialects differ it hides: text in double quotes goes too
// (MySQL reads a string there), comments go, and behind a string with a
// backslash before a quote, which some read as its end and some do not, all of
// the rest. Lists of values become one (?), runs of white space one blank. A
// statement that was cut inside a string is no problem.
func NormalizeSQL(s string) string {
	n := normalizer{s: s}
	for n.i < len(n.s) {
		n.step()
	}
	return strings.TrimSpace(n.out.String())
}

type normalizer struct {
	s   string
	i   int
	out strings.Builder
	// What was written last, behind which the next thing may be dropped.
	blank, literal, comma bool
}

func (n *normalizer) step() {
	c := n.s[n.i]
	rest := n.s[n.i:]
	switch {
	case isSpace(c):
		n.i++
		n.space()
	case strings.HasPrefix(rest, "--"):
		n.to("\n")
		n.space()
	case strings.HasPrefix(rest, "/*"):
		n.comment()
		n.space()
	case c == '\'' || c == '"':
		n.quoted(c)
	case c == '$':
		n.dollar()
	case c == '`': // an identifier in every dialect that knows it
		end := strings.IndexByte(rest[1:], '`')
		if end < 0 {
			end = len(rest) - 2
		}
		n.word(rest[:end+2])
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		n.number()
	case isName(c):
		n.name()
	default:
		n.i++
		n.mark(c)
	}
}

func (n *normalizer) name() {
	end := n.i
	for end < len(n.s) && (isName(n.s[end]) || isDigit(n.s[end]) || n.s[end] == '$') {
		end++
	}
	// E'...', N'...', X'...', B'...': the letter belongs to the string.
	if end == n.i+1 && end < len(n.s) && n.s[end] == '\'' && strings.IndexByte("eEnNxXbB", n.s[n.i]) >= 0 {
		n.i = end
		n.quoted('\'')
		return
	}
	n.word(n.s[n.i:end])
}

// quoted passes over a string; a doubled quote is part of it.
func (n *normalizer) quoted(quote byte) {
	for n.i++; n.i < len(n.s); n.i++ {
		if n.s[n.i] != quote {
			continue
		}
		if n.s[n.i-1] == '\\' {
			break
		}
		if n.i+1 < len(n.s) && n.s[n.i+1] == quote {
			n.i++
			continue
		}
		n.i++
		n.value()
		return
	}
	n.i = len(n.s)
	n.value()
}

// dollar passes over $tag$ text $tag$ and $1.
func (n *normalizer) dollar() {
	rest := n.s[n.i:]
	end := 1
	for end < len(rest) && (isName(rest[end]) || isDigit(rest[end])) {
		end++
	}
	if end < len(rest) && rest[end] == '$' && !isDigit(rest[1]) {
		n.i += end + 1
		n.to(rest[:end+1])
		n.value()
		return
	}
	if end == 1 || !isDigit(rest[1]) {
		n.i++
		n.mark('$')
		return
	}
	n.i += end
	n.value()
}

func (n *normalizer) number() {
	for n.i++; n.i < len(n.s); n.i++ {
		c := n.s[n.i]
		exponent := (c == '+' || c == '-') && (n.s[n.i-1] == 'e' || n.s[n.i-1] == 'E') &&
			n.i+1 < len(n.s) && isDigit(n.s[n.i+1])
		if !isDigit(c) && !isName(c) && c != '.' && !exponent {
			break
		}
	}
	n.value()
}

// comment passes over a comment, which may hold others.
func (n *normalizer) comment() {
	depth := 0
	for n.i < len(n.s) {
		switch rest := n.s[n.i:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			n.i += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			n.i += 2
			if depth == 0 {
				return
			}
		default:
			n.i++
		}
	}
}

// to moves behind the next occurrence of end, or to the end of the statement.
func (n *normalizer) to(end string) {
	i := strings.Index(n.s[n.i:], end)
	if i < 0 {
		n.i = len(n.s)
		return
	}
	n.i += i + len(end)
}

// value writes a ?, unless it goes on a list that began with one.
func (n *normalizer) value() {
	if n.literal && n.comma {
		n.comma, n.blank = false, false
		return
	}
	n.flush()
	n.out.WriteByte('?')
	n.literal = true
}

func (n *normalizer) space() { n.blank = true }

func (n *normalizer) mark(c byte) {
	if c == ',' && n.literal && !n.comma {
		n.comma = true
		return
	}
	if c == '?' {
		n.value()
		return
	}
	n.flush()
	n.out.WriteByte(c)
}

func (n *normalizer) word(w string) {
	n.i += len(w)
	n.flush()
	n.out.WriteString(w)
}

// flush writes the comma and the blank that were held back.
func (n *normalizer) flush() {
	if n.comma {
		n.out.WriteByte(',')
	}
	if n.blank && n.out.Len() > 0 {
		n.out.WriteByte(' ')
	}
	n.comma, n.blank, n.literal = false, false, false
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isName tells what a name may begin with; every byte of a rune beyond ASCII.
func isName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
