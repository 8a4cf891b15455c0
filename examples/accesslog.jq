# Makes "API request" events of an access log of nginx or Apache in the combined
# format, with the seconds that a request took ($request_time) as an optional
# last field:
#
#   jq -Rcf examples/accesslog.jq access.log | millrace publish - --service web
#
# The query of a path is left out, since it may hold names or tokens. A line of
# another form becomes an event of its own, so that nothing is lost.

{Jan: "01", Feb: "02", Mar: "03", Apr: "04", May: "05", Jun: "06",
 Jul: "07", Aug: "08", Sep: "09", Oct: "10", Nov: "11", Dec: "12"} as $month |

select(length > 0) |
. as $line |
(capture("^(?<client>[^ ]+) [^ ]+ .+? \\[(?<d>\\d\\d)/(?<m>[A-Z][a-z][a-z])/(?<y>\\d{4}):(?<t>[\\d:]{8}) (?<h>[+-]\\d\\d)(?<z>\\d\\d)\\] \"(?<method>[A-Z]+) (?<path>[^ ?\"]+)[^\"]*\" (?<status>\\d{3}) (\\d+|-)( \"[^\"]*\" \"[^\"]*\")?( (?<took>\\d+\\.\\d+))?$") // null) |
if . == null then
  {kind: "log", level: "WARNING", logger: "access", message: "Access log line of another form", line: $line}
else
  (.status | tonumber) as $status |
  {timestamp: "\(.y)-\($month[.m])-\(.d)T\(.t)\(.h):\(.z)",
   kind: "log",
   level: (if $status >= 500 then "ERROR" elif $status >= 400 then "WARNING" else "INFO" end),
   logger: "access",
   message: "API request",
   method, path, client,
   status_code: $status}
  + if .took then {duration_ms: (.took | tonumber * 1e6 | round / 1000)} else {} end
end
