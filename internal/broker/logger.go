package broker

import (
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// logger hands the server's words to zerolog. What the server calls fatal is an
// error here, kept for Start: a library does not end its process.
type logger struct {
	zerolog.Logger
	fatal atomic.Pointer[string] // the first one
}

func (l *logger) Noticef(format string, v ...any) { l.Debug().Msgf(format, v...) }
func (l *logger) Warnf(format string, v ...any)   { l.Warn().Msgf(format, v...) }
func (l *logger) Errorf(format string, v ...any)  { l.Error().Msgf(format, v...) }
func (l *logger) Debugf(format string, v ...any)  { l.Debug().Msgf(format, v...) }
func (l *logger) Tracef(format string, v ...any)  { l.Trace().Msgf(format, v...) }

func (l *logger) Fatalf(format string, v ...any) {
	s := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &s)
	l.Error().Msg(s)
}
