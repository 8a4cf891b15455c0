package ops

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Build tells what the running program was built from.
type Build struct {
	Version  string `json:"version"`  // of the module; (devel) outside a release
	Revision string `json:"revision"` // of the commit, with + if files were changed; "" if it was not recorded
	Go       string `json:"go"`
}

// ReadBuild asks the binary.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{}
	}
	b := Build{Version: info.Main.Version, Go: info.GoVersion}
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+"
		}
	}
	if b.Revision != "" {
		b.Revision += changed
	}
	return b
}

// Collector shows the build as millrace_build_info.
func (b Build) Collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "millrace_build_info",
		Help:        "What the program was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	}, func() float64 { return 1 })
}
