package schemas_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/dermai/millrace/schemas"
)

const (
	dateMend  = "; write it as 2025-11-27T10:30:45.123Z"
	auditMend = "; an audit event needs user, action and resource"
	oneObject = "; send one object a line"
	noNaN     = "; JSON has no NaN: send null or leave it out"
)

// bad are lines that Decode refuses, with what it says. beyond tells what a
// JSON Schema cannot say of the line; "-" that it is no JSON to its parser.
var bad = []struct {
	name, line, want, beyond string
}{
	{"nothing", ``, "empty; send one JSON object", "-"},
	{"blank", " \n", "empty; send one JSON object", "-"},
	{"array", `[{"service":"api"}]`, "want a JSON object, got an array" + oneObject, ""},
	{"string", `"service"`, "want a JSON object, got a string" + oneObject, ""},
	{"number", `7`, "want a JSON object, got a number" + oneObject, ""},
	{"null", `null`, "want a JSON object, got null" + oneObject, ""},
	{"boolean", `true`, "want a JSON object, got a boolean" + oneObject, ""},
	{"text", `2025-11-27 10:30:45 ERROR boom`, "more text after the object, at byte 4" + oneObject, "-"},
	{"two objects", `{"service":"api"}{"service":"api"}`, "more text after the object, at byte 17" + oneObject, "-"},
	{"cut off", `{"service":"api","message":"mes`, "message: the text ends inside the object; send the whole object on one line", "-"},
	{"cut off in a name", `{"service":"api","mess`, "the text ends inside the object; send the whole object on one line", "-"},
	{"bare name", `{service:"api"}`, "not valid JSON at byte 1", "-"},
	{"single quotes", `{'service':'api'}`, `not valid JSON at byte 1; quote with "`, "-"},
	{"comma too many", `{"service":"api",}`, "not valid JSON at byte 16; a comma too many?", "-"},
	{"comma too many in an array", `{"service":"api","a":[1,]}`, "a: not valid JSON at byte 23; a comma too many?", "-"},
	{"NaN", `{"service":"api","attributes":{"x":NaN}}`, "attributes.x: not valid JSON at byte 35" + noNaN, "-"},
	{"Infinity", `{"service":"api","x":Infinity}`, "x: not valid JSON at byte 21; JSON has no Infinity: send null or leave it out", "-"},
	{"None", `{"service":"api","x":None}`, "x: not valid JSON at byte 21; write null", "-"},
	{"True", `{"service":"api","x":True}`, "x: not valid JSON at byte 21; write true", "-"},
	{"names that are words of the parser's", `{"service":"api","depth":{"UTF-8":x}}`, "depth.UTF-8: not valid JSON at byte 34", "-"},
	{"leading zero", `{"service":"api","x":007}`, "not valid JSON at byte 22", "-"},
	{"line break in a string", "{\"service\":\"api\",\"x\":\"a\nb\"}", `x: not valid JSON at byte 23; write a line break inside a string as \n`, "-"},
	{"byte order mark", "\xef\xbb\xbf{\"service\":\"api\"}", "not valid JSON at byte 0; send it without a byte order mark", "-"},
	{"binary", "\x00\x01\x02", "not valid JSON at byte 0", "-"},
	{"latin 1", "{\"service\":\"api\",\"message\":\"caf\xe9\"}", "message: not valid UTF-8; send UTF-8", "-"},
	{"half a surrogate pair", `{"service":"api","message":"\ud83d"}`, "message: not valid JSON at byte 28", "-"},
	{"name twice", `{"service":"api","message":"a","message":"b"}`, "message: given twice; send each name once", "names twice"},
	{"name twice by an escape", `{"service":"api","message":"a","mess\u0061ge":"b"}`, "message: given twice; send each name once", "names twice"},
	{"name twice inside", `{"service":"api","a":[{"x":{"y":1,"y":1}}]}`, "a[0].x.y: given twice; send each name once", "names twice"},
	{"attributes twice", `{"service":"api","attributes":{},"attributes":{}}`, "attributes: given twice; send each name once", "names twice"},
	{"too deep", `{"service":"api","attributes":{"a":` + nest(31) + `}}`, "attributes.a" + strings.Repeat("[0]", 30) + ": nested deeper than 32 levels; send the inner part as a string", "depth"},
	{"too deep at the top", `{"service":"api","a":` + nest(31) + `}`, "a" + strings.Repeat("[0]", 30) + ": nested deeper than 32 levels; send the inner part as a string", "depth"},
	{"too deep in an error", `{"service":"api","error":{"a":` + nest(30) + `}}`, "error.a" + strings.Repeat("[0]", 29) + ": nested deeper than 32 levels; send the inner part as a string", "depth"},
	{"too deep in details", `{"service":"api","user":"u","action":"A","resource":"r","details":{"a":` + nest(31) + `}}`, "details.a" + strings.Repeat("[0]", 30) + ": nested deeper than 32 levels; send the inner part as a string", "depth"},
	{"too deep for the parser", `{"service":"api","a":` + nest(20000) + `}`, "nested deeper than 32 levels; send the inner part as a string", "-"},
	{"too long", `{"service":"api","message":"` + strings.Repeat("m", schemas.LineBytes) + `"}`, "event of 262174 bytes, at most 262144; shorten its texts, or send them elsewhere and refer to them", "size"},
	{"number out of range", `{"service":"api","attributes":{"a":{"b":[1,1e999]}}}`, "attributes.a.b[1]: number is out of the range of a double; send it as a string", "range"},
	{"value out of range", `{"service":"api","name":"n","value":-1e999}`, "value: number is out of the range of a double; send it as a string", "range"},
	{"no service", `{"message":"m"}`, "service: missing; give it a name", ""},
	{"empty service", `{"service":""}`, "service: missing; give it a name", ""},
	{"service of a wrong type", `{"service":{"name":"api"}}`, "service: want a string, got an object", ""},
	{"service too long", `{"service":"` + strings.Repeat("s", 64) + `"}`, "service: takes 64 bytes in a subject, at most 63; shorten it; every byte but letters, digits, _ and - takes three", ""},
	{"service too long in a subject", `{"service":"` + strings.Repeat("ř", 11) + `"}`, "service: takes 66 bytes in a subject, at most 63; shorten it; every byte but letters, digits, _ and - takes three", "tokens"},
	{"unknown kind", `{"service":"api","kind":"trace"}`, `kind: unknown kind "trace"; use log, metric or audit`, ""},
	{"kind of a wrong case", `{"service":"api","kind":"Log"}`, `kind: unknown kind "Log"; use log, metric or audit`, ""},
	{"kind of a wrong type", `{"service":"api","kind":1}`, "kind: want a string, got a number", ""},
	{"unknown level", `{"service":"api","level":"loud"}`, `level: unknown level "loud"; use DEBUG, INFO, WARNING, ERROR or CRITICAL`, ""},
	{"level beyond ASCII", `{"service":"api","level":"ınfo"}`, `level: unknown level "ınfo"; use DEBUG, INFO, WARNING, ERROR or CRITICAL`, ""},
	{"level as a number", `{"service":"api","level":30}`, "level: want a string, got a number", ""},
	{"very unknown level", `{"service":"api","level":"` + strings.Repeat("x", 5000) + `"}`, `level: unknown level "` + strings.Repeat("x", 40) + `..."; use DEBUG, INFO, WARNING, ERROR or CRITICAL`, ""},
	{"message of a wrong type", `{"service":"api","message":["a"]}`, "message: want a string, got an array", ""},
	{"logger of a wrong type", `{"service":"api","logger":false}`, "logger: want a string, got a boolean", ""},
	{"error of a wrong type", `{"service":"api","error":500}`, "error: want a string, or an object with type, message and stack, got a number", ""},
	{"stack of a wrong type", `{"service":"api","error":{"stack":["a","b"]}}`, "error.stack: want a string, got an array", ""},
	{"attributes as an array", `{"service":"api","attributes":[1]}`, "attributes: want an object, got an array", ""},
	{"id as a number", `{"service":"api","id":17}`, "id: want a string, got a number", ""},
	{"trace as a number", `{"service":"api","trace_id":17}`, "trace_id: want a string, got a number", ""},
	{"timestamp as a number", `{"service":"api","timestamp":1764239445.123}`, "timestamp: want a string, got a number" + dateMend, ""},
	{"timestamp in words", `{"service":"api","timestamp":"yesterday"}`, `timestamp: "yesterday": not an RFC 3339 timestamp` + dateMend, ""},
	{"timestamp without a time", `{"service":"api","timestamp":"2025-11-27"}`, `timestamp: "2025-11-27": not an RFC 3339 timestamp` + dateMend, ""},
	{"timestamp of another order", `{"service":"api","timestamp":"27/Nov/2025:10:30:45 +0000"}`, `timestamp: "27/Nov/2025:10:30:45 +0000": not an RFC 3339 timestamp` + dateMend, ""},
	{"timestamp of no month", `{"service":"api","timestamp":"2025-13-01T00:00:00Z"}`, `timestamp: "2025-13-01T00:00:00Z": no such date or time of day` + dateMend, ""},
	{"timestamp of no day", `{"service":"api","timestamp":"2025-02-29T00:00:00Z"}`, `timestamp: "2025-02-29T00:00:00Z": no such date or time of day` + dateMend, "dates"},
	{"timestamp of a leap second", `{"service":"api","timestamp":"2016-12-31T23:59:60Z"}`, `timestamp: "2016-12-31T23:59:60Z": no such date or time of day` + dateMend, ""},
	{"timestamp of another age", `{"service":"api","timestamp":"3000-01-01T00:00:00Z"}`, `timestamp: "3000-01-01T00:00:00Z": out of range: years 1678 to 2261` + dateMend, "dates"},
	{"timestamp of picoseconds", `{"service":"api","timestamp":"2025-11-27T10:30:45.0123456789Z"}`, `timestamp: "2025-11-27T10:30:45.0123456789Z": more than nine digits after the point` + dateMend, ""},
	{"timestamp of a named zone", `{"service":"api","timestamp":"2025-11-27T10:30:45 CET"}`, `timestamp: "2025-11-27T10:30:45 CET": not an RFC 3339 timestamp` + dateMend, ""},
	{"metric without a value", `{"service":"api","kind":"metric","name":"n"}`, "value: missing; a metric needs a name and a value", ""},
	{"metric with a null", `{"service":"api","kind":"metric","name":"n","value":null}`, "value: missing; a metric needs a name and a value", ""},
	{"metric without a name", `{"service":"api","kind":"metric","value":1}`, "name: missing; a metric needs a name and a value", ""},
	{"metric with a value in quotes", `{"service":"api","name":"n","value":"1"}`, "value: want a number, got a string", ""},
	{"metric of an unknown type", `{"service":"api","name":"n","value":1,"type":"meter"}`, "type: unknown; use gauge, counter or histogram", ""},
	{"audit without a user", `{"service":"api","kind":"audit","action":"A","resource":"r"}`, "user: missing" + auditMend, ""},
	{"audit without a resource", `{"service":"api","kind":"audit","user":"u","action":"A"}`, "resource: missing" + auditMend, ""},
	{"audit by its fields with an empty user", `{"service":"api","user":"","action":"A","resource":"r"}`, "user: missing" + auditMend, ""},
	{"audit with a number for a user", `{"service":"api","user":123,"action":"A","resource":"r"}`, "user: want a string, got a number", ""},
	{"audit with text for details", `{"service":"api","user":"u","action":"A","resource":"r","details":"d"}`, "details: want an object, got a string", ""},
	{"audit with text for success", `{"service":"api","user":"u","action":"A","resource":"r","success":"yes"}`, "success: want true or false, got a string", ""},
	{"strange names", `{"service":"api","attributes":{"a b\n":{"":1e999}}}`, `attributes."a b\n"."": number is out of the range of a double; send it as a string`, "range"},
	{"many long names", `{"service":"api"` + strings.Repeat(`,"`+strings.Repeat("n", 60)+`":{"a":1`, 9) + `,"b":1e999` + strings.Repeat("}", 10), strings.Repeat("n", 60) + "...: number is out of the range of a double; send it as a string", "range"},
	{"very long names", `{"service":"api","attributes":{"` + strings.Repeat("n", 1000) + `":1e999}}`, `attributes.` + strings.Repeat("n", 64) + `...: number is out of the range of a double; send it as a string`, "range"},
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			e, err := schemas.Decode([]byte(c.line), schemas.Origin{})
			if err == nil {
				t.Fatalf("accepted: %+v", e)
			}
			if fault := (*schemas.DecodeError)(nil); !errors.As(err, &fault) {
				t.Errorf("not a DecodeError: %#v", err)
			}
			if err.Error() != c.want {
				t.Errorf("says %s\nwant %s", err, c.want)
			}
			if len(err.Error()) > 300 {
				t.Errorf("%d bytes long", len(err.Error()))
			}
		})
	}
}

// TestRefusalsKeepSecrets breaks a line with a secret in it at every byte, and
// replaces each by others: no refusal may show a piece of the secret.
func TestRefusalsKeepSecrets(t *testing.T) {
	const secret = "Zq7Xw9Kv"
	line := `{"service":"api","timestamp":null,"level":null,"kind":null,"attributes":{"password":"` + secret + `","n":[{"token":"` + secret + `"}]},"password":"` + secret + `"}`
	try := func(line []byte) {
		if _, err := schemas.Decode(line, schemas.Origin{}); err != nil {
			for i := range len(secret) - 2 {
				if strings.Contains(err.Error(), secret[i:i+3]) {
					t.Fatalf("%s\nsays %v", line, err)
				}
			}
		}
	}
	for i := range len(line) {
		try([]byte(line[:i]))
		for _, c := range []byte("\"\\{}[],:0x\x00\xff") {
			broken := []byte(line)
			broken[i] = c
			try(broken)
		}
	}
}

// TestSchemaAgrees holds the JSON Schema against Decode: what one accepts, the
// other does, but for what a schema cannot say.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t, "event")
	for _, c := range good {
		if err := schema.Validate(parse(t, c.line)); err != nil {
			t.Errorf("%s: decoded, but the schema refuses it: %v", c.name, err)
		}
	}
	for _, c := range bad {
		if c.beyond == "-" {
			continue
		}
		err := schema.Validate(parse(t, c.line))
		if err == nil && c.beyond == "" {
			t.Errorf("%s: the schema accepts it", c.name)
		}
		if err != nil && c.beyond != "" {
			t.Errorf("%s: the schema says it after all: %v", c.name, err)
		}
	}
}

func TestSchemaUnknown(t *testing.T) {
	for _, name := range []string{"nothing", "", "../event", "*"} {
		if b, err := schemas.JSONSchema(name); err == nil {
			t.Errorf("%q: %d bytes", name, len(b))
		}
	}
}

func compileSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := schemas.JSONSchema(name)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", parse(t, string(text))); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatalf("%s: %v", cutText(text), err)
	}
	return v
}

func cutText(s string) string { return s[:min(len(s), 200)] }
