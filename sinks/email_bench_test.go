package sinks_test

import (
	"fmt"
	"testing"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// BenchmarkSendEmail sends to a server in this process, a session each, without TLS.
func BenchmarkSendEmail(b *testing.B) {
	m := sinkstest.NewMail(b, sinkstest.MailConfig{})
	cfg := notify.Config{Receivers: []notify.ReceiverConfig{{Name: "team", Type: "email", Options: notify.NewOptions(fmt.Appendf(nil,
		"{to: [ops@example.com], from: m@example.com, host: %s, port: %d, tls: none}", m.Host, m.Port))}}}
	built, err := sinks.Open(cfg, sinks.Builtin(), sinks.Env{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		n := sinkstest.Notification()
		n.ID = fmt.Sprintf("%032x", i)
		if _, err := built["team"].Send(b.Context(), n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkEventFile writes batches of 500, each synced twice.
func BenchmarkEventFile(b *testing.B) {
	s := eventSink(b, "file", "dir: "+b.TempDir(), sinks.Env{})
	b.ReportAllocs()
	from := 0
	for b.Loop() {
		if err := s.Write(b.Context(), logged(from, 500)); err != nil {
			b.Fatal(err)
		}
		from += 500
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "events/s")
}
