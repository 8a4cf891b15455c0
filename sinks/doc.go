// Package sinks holds the receivers of notifications (Slack, mail, Sentry, webhooks, the
// console, and the outbox, which renders what others would be sent) and the sinks of
// events (files, the copy of the audit trail, errors to Sentry, metrics of Prometheus).
//
// The invariant: text that comes from events is only ever text to the other
// side. It cannot make a mention, a link, a format, a header, a path or a
// terminal command, and what is too long is cut and says so. No error, log or
// record holds a secret.
//
// A receiver is one file here, one golden file and one line in Builtin.
//
//	receivers, err := sinks.Open(cfg, sinks.Builtin(), sinks.Env{Dir: data, Out: os.Stdout, Getenv: os.Getenv})
package sinks
