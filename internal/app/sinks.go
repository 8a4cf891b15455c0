package app

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dermai/millrace/internal/processor"
	"github.com/dermai/millrace/sinks"
)

// sinks builds the sinks of the configuration that are not off. All faults are
// joined.
func (s *session) sinks() ([]processor.Sink, error) {
	types := s.EventSinks
	var out []processor.Sink
	var faults []error
	for i, c := range s.config.Sinks {
		fault := func(err error) { faults = append(faults, fmt.Errorf("sinks[%d].%w", i, err)) }
		build, ok := types[c.Type]
		if !ok {
			fault(fmt.Errorf("%s: no such type; use one of %s", c.Type, strings.Join(slices.Sorted(maps.Keys(types)), ", ")))
			continue
		}
		where, err := parseWhere(c.Where)
		if err != nil {
			fault(err)
			continue
		}
		sink, err := build(c.Name, c.Options, s.sinkEnv())
		if err == nil {
			err = s.followsItself(sink)
		}
		if err != nil {
			fault(fmt.Errorf("%s: %w", c.Type, err))
			continue
		}
		if reason, off := sink.Off(); off {
			s.log.Warn().Str("sink", c.Name).Str("reason", reason).Msg("the sink is off")
			continue
		}
		out = append(out, processor.Sink{
			Name: c.Name, Kinds: c.Kinds, Services: c.Services, Where: where.holds, Events: sink,
		})
	}
	return out, errors.Join(faults...)
}

// sinkEnv is what receivers and sinks take from this process.
func (s *session) sinkEnv() sinks.Env {
	return sinks.Env{Dir: string(s.config.Data), Out: s.Stdout, Getenv: os.Getenv}
}

// followsItself refuses a sink whose file is one that is followed: each event
// would come again for ever.
func (s *session) followsItself(sink sinks.EventSink) error {
	writes, ok := sink.(interface{ Path() string })
	if !ok || writes.Path() == "" {
		return nil
	}
	for _, f := range s.followed() {
		if sameFile(f.path, writes.Path()) {
			return fmt.Errorf("dir: it would write %s, which publisher.audit or publisher.follow reads; "+
				"give it a directory of its own, or set publisher.audit.enabled to false", writes.Path())
		}
	}
	return nil
}

// sameFile compares where two paths lead, as far as they exist.
func sameFile(a, b string) bool {
	resolve := func(path string) string {
		if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
			path = filepath.Join(dir, filepath.Base(path))
		}
		if abs, err := filepath.Abs(path); err == nil {
			return abs
		}
		return filepath.Clean(path)
	}
	return resolve(a) == resolve(b)
}
