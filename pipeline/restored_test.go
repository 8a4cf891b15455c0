package pipeline_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/dermai/millrace/pipeline"
)

// TestRestores: a server that is too old for a restore is named with its version,
// before anything is done.
func TestRestores(t *testing.T) {
	for _, version := range []string{server.VERSION, "2.15.0", "2.16.0-RC.1", "3.0.0"} {
		if err := pipeline.Restores(version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	for _, version := range []string{"2.14.9", "2.9.25", "1.99.0", "dev", ""} {
		err := pipeline.Restores(version)
		if err == nil || !strings.Contains(err.Error(), "nats-server "+version+",") || !strings.Contains(err.Error(), "bring each server") {
			t.Errorf("%q: %v; want the version and the mend", version, err)
		}
	}
}
