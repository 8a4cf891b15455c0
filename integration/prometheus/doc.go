// Package prometheus tries the metrics on a real Prometheus: it scrapes the
// three daemons under a known load, with the configuration, the alerts and the
// dashboard that are shipped in deploy.
package prometheus
