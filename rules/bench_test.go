package rules_test

import (
	"testing"

	"github.com/dermai/millrace/rules"
	"github.com/dermai/millrace/schemas"
)

// BenchmarkSample runs one event through the default rules; ns/op is divided by
// their number for the cost of one evaluation.
func BenchmarkSample(b *testing.B) {
	set, err := rules.Parse(rules.Default())
	if err != nil {
		b.Fatal(err)
	}
	request := event()
	metric := &schemas.Event{Kind: schemas.KindMetric, Service: "api", Instance: "i", Name: "system.cpu", Value: 50}
	for name, e := range map[string]*schemas.Event{"request": request, "metric": metric, "other": {Kind: schemas.KindLog, Message: "hello"}} {
		b.Run(name, func(b *testing.B) {
			env := rules.NewEnv()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				env.Set(e)
				for _, r := range set.Rules {
					if _, ok, _ := r.Sample(env); ok {
						n++
					}
				}
			}
			b.ReportMetric(float64(b.N*len(set.Rules))/b.Elapsed().Seconds()/1e6, "M-evaluations/s")
			b.ReportMetric(float64(n)/float64(b.N), "samples")
		})
	}
}
