package sinks

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getsentry/sentry-go"
)

const (
	maxStack  = 64 << 10 // bytes of a stack that are read
	maxFrames = 100      // of one exception: the innermost
	maxChain  = 5        // exceptions that led to one another: the last
)

// stack is what could be read of a stack trace: exceptions in the order in which
// they happened, each with its frames from the outermost in.
type stack struct {
	language string
	chain    []thrown
}

type thrown struct {
	kind   string
	frames []sentry.Frame
}

// parseStack reads a traceback of Python or a trace of Go. It takes names of
// functions, files and lines; not arguments, variables, source lines or
// messages. Of another trace it takes nothing.
func parseStack(text string) stack {
	if len(text) > maxStack {
		text = text[len(text)-maxStack:]
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	if slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), pythonStart) }) {
		return stack{"python", pythonStack(lines)}
	}
	if frames := goStack(lines); len(frames) > 0 {
		return stack{"go", []thrown{{frames: frames}}}
	}
	return stack{}
}

func (s stack) platform() string {
	if s.language == "" {
		return "other"
	}
	return s.language
}

// exceptions writes the chain for Sentry; kind is that of the last one. There
// is always one.
func (s stack) exceptions(kind string) []sentry.Exception {
	chain := s.chain[max(0, len(s.chain)-maxChain):]
	if len(chain) == 0 {
		chain = []thrown{{}}
	}
	out := make([]sentry.Exception, len(chain))
	for i, t := range chain {
		out[i] = sentry.Exception{Type: t.kind}
		if len(t.frames) > 0 {
			out[i].Stacktrace = &sentry.Stacktrace{Frames: t.frames[max(0, len(t.frames)-maxFrames):]}
		}
	}
	out[len(out)-1].Type = kind
	return out
}

// top is where the last exception happened: the function of the innermost frame
// of the service's own, otherwise of any. It has no line, so that an edit above
// it changes nothing.
func (s stack) top() string {
	if len(s.chain) == 0 {
		return ""
	}
	frames := s.chain[len(s.chain)-1].frames
	if len(frames) == 0 {
		return ""
	}
	at := len(frames) - 1
	for i, f := range slices.Backward(frames) {
		if f.InApp {
			at = i
			break
		}
	}
	return strings.TrimPrefix(frames[at].Module+"."+frames[at].Function, ".") + " in " + frames[at].Filename
}

const pythonStart = "Traceback (most recent call last):"

var (
	pythonFrame = regexp.MustCompile(`^  File "([^"\s]{1,500})", line (\d{1,9})(?:, in (\S{1,200}))?$`)
	pythonEnd   = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]{0,200})(?::.*)?$`)
)

// pythonStack reads tracebacks that led to one another. What follows the line
// that names an exception is its message, up to the next traceback.
func pythonStack(lines []string) []thrown {
	var out []thrown
	open := false // within a traceback
	for _, line := range lines {
		if strings.TrimSpace(line) == pythonStart {
			out, open = append(out, thrown{}), true
			continue
		}
		if !open {
			continue
		}
		t := &out[len(out)-1]
		if m := pythonFrame.FindStringSubmatch(line); m != nil {
			number, _ := strconv.Atoi(m[2])
			file := sourceFile(m[1])
			t.frames = append(t.frames, sentry.Frame{
				Function: orElse(codeName(m[3]), "?"), Filename: file, Lineno: number, InApp: !pythonLibrary.MatchString(m[1]),
			})
		} else if m := pythonEnd.FindStringSubmatch(line); m != nil {
			t.kind, open = m[1], false
		}
	}
	return out
}

var pythonLibrary = regexp.MustCompile(`(^|/)(site-packages|dist-packages|lib/python[0-9.]+|lib64/python[0-9.]+)/|^<`)

var (
	goFunction = regexp.MustCompile(`^(?:created by )?([A-Za-z_][\w./~%-]*\.[\w.*()\[\]{}-]+?)(?:\([^()]*\))?(?: in goroutine \d+)?$`)
	goPlace    = regexp.MustCompile(`^\t(\S{1,500}):(\d{1,9})(?: \+0x[0-9a-f]+)?$`)
	goLibrary  = regexp.MustCompile(`/pkg/mod/|/vendor/|/go/src/|/usr/lib/go`)
)

// goStack reads the first goroutine: a line with the function, then a line with
// the place.
func goStack(lines []string) []sentry.Frame {
	var out []sentry.Frame
	for i := 0; i+1 < len(lines); i++ {
		f, at := goFunction.FindStringSubmatch(lines[i]), goPlace.FindStringSubmatch(lines[i+1])
		if f == nil || at == nil {
			if len(out) > 0 && strings.HasPrefix(lines[i], "goroutine ") {
				break // the next one
			}
			continue
		}
		// The package ends at the first dot after the last slash.
		slash := strings.LastIndex(f[1], "/") + 1
		dot := slash + strings.Index(f[1][slash:], ".")
		number, _ := strconv.Atoi(at[2])
		out = append(out, sentry.Frame{
			Module: f[1][:dot], Function: f[1][dot+1:], Filename: sourceFile(at[1]), Lineno: number,
			InApp: !goLibrary.MatchString(at[1]) && !strings.HasPrefix(f[1], "runtime.") && f[1] != "panic",
		})
		i++
	}
	slices.Reverse(out)
	return out
}

var homes = regexp.MustCompile(`^(/home/|/Users/)[^/]+`)

// sourceFile is the path of a file without the name of the user it belongs to.
func sourceFile(path string) string {
	return truncate(printable(homes.ReplaceAllString(path, "~"), false), 256)
}
