package sinks

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

type auditFileOptions struct {
	// Enabled: default: what HIPAA_AUDIT_ENABLED says, otherwise false.
	Enabled *bool `yaml:"enabled"`
	// Dir is where audit.log stands. Default: HIPAA_AUDIT_LOG_DIR.
	Dir string `yaml:"dir"`
	// MaxBytes at which it is rotated. Default: 10 MB. Nothing is ever deleted.
	MaxBytes int64 `yaml:"max_bytes"`
}

// buildAuditFile makes an EventFile of audit events, in the form in which
// applications write them. It keeps every file that it rotates.
func buildAuditFile(_ string, options notify.Options, env Env) (EventSink, error) {
	var o auditFileOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	getenv := env.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	enabled := strings.EqualFold(getenv("HIPAA_AUDIT_ENABLED"), "true") || getenv("HIPAA_AUDIT_ENABLED") == "1"
	if o.Enabled != nil {
		enabled = *o.Enabled
	}
	if o.Dir == "" {
		o.Dir = getenv("HIPAA_AUDIT_LOG_DIR")
	}
	switch {
	case !enabled:
		return &EventFile{off: "audit is not enabled: set enabled, or HIPAA_AUDIT_ENABLED in the environment"}, nil
	case o.Dir == "":
		return &EventFile{off: "no directory: set dir, or HIPAA_AUDIT_LOG_DIR in the environment"}, nil
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = fileBytes
	}
	return &EventFile{line: auditLine, journal: &journal{dir: o.Dir, stem: "audit", ext: ".log", maxBytes: o.MaxBytes, now: env.clock()}}, nil
}

// auditLine is an audit event in the form of the applications' own audit.log;
// nil for any other event.
func auditLine(dst []byte, d Delivered) ([]byte, error) {
	e := d.Event
	if e.Kind != schemas.KindAudit {
		return nil, nil
	}
	details := e.Details
	if details == nil {
		details = map[string]any{}
	}
	at := e.Time
	if at == 0 {
		at = d.Time
	}
	b := bytes.NewBuffer(dst)
	enc := json.NewEncoder(b) // ends in a line end, and names its keys in this order
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Timestamp string         `json:"timestamp"`
		User      string         `json:"user"`
		Action    string         `json:"action"`
		Resource  string         `json:"resource"`
		Details   map[string]any `json:"details"`
		Success   *bool          `json:"success"`
	}{time.Unix(0, at).UTC().Format("2006-01-02T15:04:05.000Z"), e.User, e.Action, e.Resource, details, e.Success})
	return b.Bytes(), err
}
