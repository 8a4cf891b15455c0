// Package ruletest tests alert rules: a file says which events happen when and
// what the alerts must then be, and the rules are decided over them by the same
// code that runs live. No clock is asked and no time passes: a test of a day
// takes as long as its events.
//
// The invariant: what a test shows, the live system does, since both are the
// same function of the events and the rules.
//
//	rule_files: [rules.yaml]
//	tests:
//	  - name: one request in ten fails
//	    events:
//	      - {at: 0s, every: 1s, count: 60, event: {kind: log, service: api, message: API request, attributes: {status_code: 200}}}
//	      - {at: 5s, every: 10s, count: 6, event: {kind: log, service: api, message: API request, attributes: {status_code: 500}}}
//	    expect:
//	      - {at: 1m, alert: "HighErrorRate{service=api}", state: firing, value: 10%}
//	    transitions:
//	      - {at: 17s, alert: "HighErrorRate{service=api}", to: firing}
//	      - {at: 5m45s, alert: "HighErrorRate{service=api}", to: inactive}
package ruletest
