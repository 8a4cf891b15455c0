package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// level is the least severe level that is written. The names are those of
// events, and the two short forms that people write.
func (l Log) level() (zerolog.Level, error) {
	switch strings.ToLower(l.Level) {
	case "debug":
		return zerolog.DebugLevel, nil
	case "info", "":
		return zerolog.InfoLevel, nil
	case "warning", "warn":
		return zerolog.WarnLevel, nil
	case "error":
		return zerolog.ErrorLevel, nil
	case "critical":
		return zerolog.FatalLevel, nil
	}
	return zerolog.NoLevel, fmt.Errorf("%q: use debug, info, warning, error or critical", l.Level)
}

// Logger writes to w what the configuration asks for: JSON, or lines for people
// where w is a terminal. color allows colours on a terminal. It is safe for
// concurrent use if writes to w are.
func (l Log) Logger(w io.Writer, color bool) zerolog.Logger {
	if l.Format == "console" || l.Format != "json" && IsTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !color || !IsTerminal(w), TimeFormat: "15:04:05.000"}
	}
	level, err := l.level()
	if err != nil {
		level = zerolog.InfoLevel // Validate has said so already
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// IsTerminal tells whether a person reads what is written to w.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
