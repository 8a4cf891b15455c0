package sinks_test

import (
	"fmt"
	"testing"

	"github.com/dermai/millrace/sinks"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// BenchmarkSend delivers the ordinary notification, over loopback for those that
// post, whose server is in the same process: its work is in the figures.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct{ name, kind, options, yes string }{
		{"slack", "slack", "{webhook_url: %q}", "ok"},
		{"slack_bot", "slack", "{bot_token: xoxb-1, channel: C0ALERTS, api_url: %q}", `{"ok":true,"channel":"C0ALERTS","ts":"1.1"}`},
		{"webhook", "webhook", "{url: %q}", ""},
		{"webhook_signed", "webhook", "{url: %q, secret: xyzzy, template: '{\"text\": {{json .Title}}}'}", ""},
		{"sentry", "sentry", "{dsn: %q}", `{"id":"0"}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			url := sinkstest.NewAnswerer(b, c.yes)
			if c.kind == "sentry" {
				url = dsnOf(b, url)
			}
			s, err := open(c.kind, fmt.Sprintf(c.options, url), sinks.Env{})
			if err != nil {
				b.Fatal(err)
			}
			n := sinkstest.Notification()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Send(b.Context(), n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkSentryEvents writes one error with a stack an operation.
func BenchmarkSentryEvents(b *testing.B) {
	s := sentryEventsAt(b, sinkstest.NewAnswerer(b, `{"id":"0"}`), "", sinks.Env{})
	batch := []sinks.Delivered{at(7, failure("app.errors.StorageError", pythonStack))}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
