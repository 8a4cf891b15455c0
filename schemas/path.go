package schemas

import "strings"

// PathID stands in a path template where an identifier was.
const PathID = "{id}"

const (
	pathSegments = 8  // of a template; what follows is cut and says so
	pathWord     = 24 // bytes of a word
)

// PathTemplate replaces what a URL's path holds of people's data by {id}, so that
// paths can be shown and counted: /api/patients/4711/notes?q=x becomes
// /api/patients/{id}/notes. It knows no routes, so where in doubt it hides. What
// stays is a segment of lower-case letters and _ (and v1, v2, ... for versions)
// that does not follow a plural: what follows patients/ is one of them, even if
// it looks like a word. Query and fragment go. A segment behind the eighth is
// part of "...".
//
// A name behind a singular (/patient/smith) is not told from a resource.
func PathTemplate(path string) string {
	if i := strings.IndexAny(path, "?#;"); i >= 0 {
		path = path[:i]
	}
	if i := strings.Index(path, "://"); i >= 0 { // of a whole URL
		path = path[i+3:]
		if i = strings.IndexByte(path, '/'); i < 0 {
			return "/"
		}
		path = path[i:]
	}
	var out strings.Builder
	last, n := "", 0
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		if n++; n > pathSegments {
			out.WriteString("/...")
			break
		}
		if strings.HasSuffix(last, "s") || !isPathWord(segment) {
			segment = PathID
		}
		out.WriteByte('/')
		out.WriteString(segment)
		last = segment
	}
	if n == 0 {
		return "/"
	}
	return out.String()
}

// isPathWord tells words, and versions, from identifiers.
func isPathWord(s string) bool {
	if v, ok := strings.CutPrefix(s, "v"); ok && len(v) == 1 && isDigit(v[0]) {
		return true
	}
	return len(s) <= pathWord && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}
