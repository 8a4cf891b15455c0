package ops

import (
	stdlog "log"
	"strings"

	"github.com/rs/zerolog"
)

// newErrorLog is the logger that net/http wants, at debug level: what it says
// is about clients that misbehave.
func newErrorLog(log zerolog.Logger) *stdlog.Logger {
	return stdlog.New(lines{log}, "", 0)
}

type lines struct{ log zerolog.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Debug().Str("part", "http").Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
