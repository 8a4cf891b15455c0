package sinks

import (
	"html/template"
	"strings"
)

// emailHTML writes the HTML part. It loads nothing from anywhere, so that
// reading it tells nobody; texts of events stand in places where html/template
// escapes them.
func emailHTML(v emailView) (string, error) {
	var b strings.Builder
	err := emailTemplate.Execute(&b, v)
	return b.String(), err
}

// Colours of the bar and the marks; white on each is at least 4.5 to 1.
var emailColors = map[string]string{
	"critical": "#b42318", "error": "#b42318", "warning": "#b54708", "": "#b54708", "info": "#175cd3", "resolved": "#067647",
}

var emailTemplate = template.Must(template.New("email").Funcs(template.FuncMap{
	"color": func(status, severity string) template.CSS {
		if status == "RESOLVED" {
			severity = "resolved"
		}
		return template.CSS(emailColors[severity]) //nolint:gosec // one of the table above, or empty
	},
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{{.Title}}</title>
<style>
body { margin: 0; padding: 24px 12px; background: #f2f4f7; color: #101828;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
.card { max-width: 640px; margin: 0 auto; background: #ffffff; border: 1px solid #d0d5dd; border-radius: 10px; overflow: hidden; }
.bar { height: 6px; }
.inner { padding: 20px 24px; }
h1 { margin: 0; font-size: 19px; line-height: 1.35; overflow-wrap: anywhere; }
.alert { margin-top: 20px; padding-top: 18px; border-top: 1px solid #e4e7ec; }
.mark { display: inline-block; margin-right: 8px; padding: 1px 10px; border-radius: 10px; color: #ffffff;
  font-size: 12px; font-weight: 600; letter-spacing: .04em; }
.name { font-weight: 600; overflow-wrap: anywhere; }
.summary { margin: 10px 0 0; overflow-wrap: anywhere; }
table { width: 100%; margin-top: 12px; border-collapse: collapse; font-size: 14px; table-layout: fixed; }
th { width: 30%; padding: 4px 12px 4px 0; color: #475467; font-weight: 400; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td { padding: 4px 0; vertical-align: top; overflow-wrap: anywhere; }
.label { margin: 14px 0 4px; color: #475467; font-size: 13px; }
.evidence { margin: 0 0 6px; padding: 8px 10px; background: #f2f4f7; border-radius: 6px; overflow-wrap: anywhere;
  font: 12.5px/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.more { margin: 16px 0 0; color: #475467; }
.foot { max-width: 640px; margin: 12px auto 0; color: #475467; font-size: 12px; text-align: center; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body { background: #0c111d; color: #f2f4f7; }
  .card { background: #161b26; border-color: #333741; }
  .alert { border-color: #333741; }
  .evidence { background: #0c111d; }
  th, .label, .more, .foot { color: #a3acba; }
}
</style>
</head>
<body>
<div class="card">
<div class="bar" style="background: {{color .Status .Severity}}"></div>
<div class="inner">
<h1>{{.Title}}</h1>
{{- if .Digest}}
<p>{{.Digest}}</p>
{{- end}}
{{- $severity := .Severity}}
{{- range .Alerts}}
<div class="alert">
<div><span class="mark" style="background: {{color .Status $severity}}">{{.Status}}</span><span class="name">{{.Name}}</span></div>
{{- with .Summary}}
<p class="summary">{{.}}</p>
{{- end}}
<table role="presentation">
{{- range .Facts}}
<tr><th>{{.Name}}</th><td>{{.Value}}</td></tr>
{{- end}}
</table>
{{- with .Evidence}}
<p class="label">Evidence</p>
{{- range .}}
<p class="evidence">{{.}}</p>
{{- end}}
{{- end}}
{{- with .Left}}
<p class="more">and {{.}} lines more</p>
{{- end}}
</div>
{{- end}}
{{- with .More}}
<p class="more">and {{.}} more</p>
{{- end}}
</div>
</div>
<p class="foot">{{.Footer}}</p>
</body>
</html>
`))
