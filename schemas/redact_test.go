package schemas_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/schemas"
)

// Secrets in the tests are put together, so that no scanner takes them for real.
var (
	jwt    = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	aws    = "AKI" + "AIOSFODNN7EXAMPLE"
	github = "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"
	slack  = "xo" + "xb-123456789012-abcdefghijkl"
	pem    = "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE" + " KEY-----"
	basic  = base64.StdEncoding.EncodeToString([]byte("user:hunter2"))
)

func TestSecretNames(t *testing.T) {
	for _, name := range []string{
		"password", "PASSWORD", "Password", "passwd", "pwd", "user_password", "userPassword", "db.password", "password_hash", "new-password", "password2", "DBPASSWORD", "smtp_pass",
		"secret", "client_secret", "clientSecret", "CLIENT_SECRET_KEY", "secret_name",
		"token", "access_token", "accessToken", "id_token", "csrftoken", "X-Auth-Token", "tokens", "refreshTokens", "TOKEN",
		"api_key", "apikey", "apiKey", "APIKey", "X-API-Key", "x-api-key", "OPENAI_API_KEY", "api_keys",
		"authorization", "Authorization", "Proxy-Authorization", "http_authorization", "auth",
		"cookie", "Set-Cookie", "set_cookie", "cookies", "sessionid", "session_id", "sessionId",
		"credential", "aws_credentials", "private_key", "privateKey", "privatekey", "access_key", "AWS_ACCESS_KEY_ID", "aws_secret_access_key", "encryption_key", "signingKey",
		"jwt", "passphrase", "credit_card", "creditCardNumber", "card_number", "cvv", "ssn",
	} {
		if !schemas.SecretName(name) {
			t.Errorf("%q passes", name)
		}
	}
	for _, name := range []string{
		"", "x", "token_count", "tokens_used", "tokenCount", "token_type", "tokenizer", "tokenized_text", "total_tokens_per_second",
		"secretary", "keyboard", "key", "primary_key", "foreign_key", "monkey", "author", "authorized", "authenticated", "authentication_method",
		"compass", "bypass", "pass_rate", "passenger", "session", "session_length", "id", "card", "number", "user_id", "patient_id",
		"status_code", "duration_ms", "method", "path", "query", "client", "message", "cookiecutter", strings.Repeat("password", 100),
	} {
		if schemas.SecretName(name) {
			t.Errorf("%q is taken for a secret", name)
		}
	}
}

// TestRedactText redacts texts, each as a message, and shows what stays.
func TestRedactText(t *testing.T) {
	for _, c := range []struct {
		text, want string
		n          int
	}{
		{"token " + jwt + " expired", "token [redacted] expired", 1},
		{"Authorization: Bearer abc123def", "Authorization: [redacted]", 2},
		{"got Bearer abc.DEF-123== from x", "got Bearer [redacted] from x", 1},
		{"header bearer=abc123def;", "header bearer=[redacted];", 1},
		{"Authorization: Basic " + basic, "Authorization: [redacted]", 2},
		{"sent Basic " + basic + " to x", "sent Basic [redacted] to x", 1},
		{"Authorization: Digest username=\"u\", response=\"r\"", "Authorization: [redacted]\"u\", response=\"r\"", 1},
		{"Authorization: Token 0123abcd\nHost: x", "Authorization: [redacted]\nHost: x", 1},
		{"Set-Cookie: sid=1; Path=/\r\nHost: x", "Set-Cookie: [redacted]\r\nHost: x", 1},
		{"key " + aws + " denied", "key [redacted] denied", 1},
		{"push with " + github, "push with [redacted]", 1},
		{"use github_pat_" + strings.Repeat("a1", 15), "use [redacted]", 1},
		{"post by " + slack + ".", "post by [redacted].", 1},
		{"https://hooks.slack.com/services/T000/B000/abcXYZ failed", "https://hooks.slack.com/services/[redacted] failed", 1},
		{"before\n" + pem + "\nbehind", "before\n[redacted]\nbehind", 1},
		{"cut off " + pem[:50], "cut off [redacted]", 1},
		{"postgres://app:s3cr3t@db:5432/x", "postgres://app:[redacted]@db:5432/x", 1},
		{"redis://:p@ss@db/0 and amqp://u:p2@q", "redis://:[redacted]@db/0 and amqp://u:[redacted]@q", 2},
		{"GET /reset?token=abcdef&x=1", "GET /reset?token=[redacted]&x=1", 1},
		{"login password=hunter2, user=bob", "login password=[redacted], user=bob", 1},
		{"password = 'hunter two' x", "password = '[redacted]' x", 1},
		{"password: hunter2", "password: [redacted]", 1},
		{"api_key=\"a\\\"b\" c", "api_key=\"[redacted]\" c", 1},
		{"{'user': 'bob', 'password': 'hunter2', 'age': 4}", "{'user': 'bob', 'password': '[redacted]', 'age': 4}", 1},
		{"{'password': b'hunter2', 'pin': [1]}", "{'password': b'[redacted]', 'pin': [1]}", 1},
		{"{'headers': {'Authorization': 'Token a b', 'x': 1}}", "{'headers': {'Authorization': '[redacted]', 'x': 1}}", 1},
		{"{\"password\":\"cut o", "{\"password\":\"[redacted]", 1},
		{`"{\"password\":\"hunter2\",\"a\":1}"`, `"{\"password\":\"[redacted]\",\"a\":1}"`, 1},
		{"{'credentials': {'a': 'b'}, 'c': 1", "{'credentials': [redacted]", 1},
		{`{"password":"hunter2","a":[1.50,{"token":"x"}],"tokens_used":5}`, `{"a":[1.5,{"token":"[redacted]"}],"password":"[redacted]","tokens_used":5}`, 2},
		{" [\"" + jwt + "\"] ", `["[redacted]"]`, 1},
		{`{"inner":"{\"password\":\"hunter2\"}"}`, `{"inner":"{\"password\":\"[redacted]\"}"}`, 1},

		{`{"inner":"{\"credentials\":{\"a\":\"b\"},\"c\":1}"}`, `{"inner":"{\"c\":1,\"credentials\":\"[redacted]\"}"}`, 1},

		// What is none.
		{"", "", 0},
		{"tokens_used=512 token_count=3 max_tokens=100", "tokens_used=512 token_count=3 max_tokens=100", 0},
		{"bearer token is missing", "bearer token is missing", 0},
		{"Basic authentication is off", "Basic authentication is off", 0},
		{"unexpected token: foo", "unexpected token: foo", 0},
		{"password=\"\" token=null secret=None has_password=true", "password=\"\" token=null secret=None has_password=true", 0},
		{"if password == x", "if password == x", 0},
		{"http://example.org:8080/a@b", "http://example.org:8080/a@b", 0},
		{"https://example.org/a:b@c", "https://example.org/a:b@c", 0},
		{"user@example.org", "user@example.org", 0},
		{"eyJ", "eyJ", 0},
		{"AKIA", "AKIA", 0},
		{"10:30:45 took=5ms a=b", "10:30:45 took=5ms a=b", 0},
		{`{"a": 1.50}`, `{"a": 1.50}`, 0},
		{"[redacted] password=[redacted] Bearer [redacted]", "[redacted] password=[redacted] Bearer [redacted]", 0},
	} {
		e := schemas.Event{Kind: schemas.KindLog, Message: c.text}
		if n := schemas.Redact(&e); e.Message != c.want || n != c.n {
			t.Errorf("%q\nbecame %q (%d)\nwant   %q (%d)", c.text, e.Message, n, c.want, c.n)
		}
		if n := schemas.Redact(&e); n != 0 {
			t.Errorf("%q: redacted again: %q", c.text, e.Message)
		}
	}
}

func TestRedactEvent(t *testing.T) {
	for _, c := range []struct {
		name string
		e    schemas.Event
		want schemas.Event
		n    int
	}{
		{"names at any depth",
			schemas.Event{Attributes: map[string]any{"user": "bob", "Password": "x", "a": []any{map[string]any{"api_key": "k", "b": map[string]any{"cookie": []any{"c"}}}}, "secrets": map[string]any{"x": 1.0}}},
			schemas.Event{Attributes: map[string]any{"user": "bob", "Password": "[redacted]", "a": []any{map[string]any{"api_key": "[redacted]", "b": map[string]any{"cookie": "[redacted]"}}}, "secrets": "[redacted]"}}, 4},
		{"details",
			schemas.Event{Details: map[string]any{"field": "password", "new_password": "x", "old": "Bearer abc123def"}},
			schemas.Event{Details: map[string]any{"field": "password", "new_password": "[redacted]", "old": "Bearer [redacted]"}}, 2},
		{"numbers, booleans and null",
			schemas.Event{Attributes: map[string]any{"password": 1234.0, "cvv": 12.0, "tokens": 5.0, "token_count": 5.0, "tokens_used": "5", "password_length": 8.0, "secret": true, "token": nil, "cookie": "", "pwd": 7}},
			schemas.Event{Attributes: map[string]any{"password": "[redacted]", "cvv": "[redacted]", "tokens": 5.0, "token_count": 5.0, "tokens_used": "5", "password_length": 8.0, "secret": true, "token": nil, "cookie": "", "pwd": "[redacted]"}}, 3},
		{"every text",
			schemas.Event{Message: jwt, Error: &schemas.Error{Type: "E " + jwt, Message: jwt, Stack: "at x(password=1)\n" + jwt}, User: aws, Action: "use " + aws, Resource: "https://u:p@h/"},
			schemas.Event{Message: "[redacted]", Error: &schemas.Error{Type: "E [redacted]", Message: "[redacted]", Stack: "at x(password=[redacted])\n[redacted]"}, User: "[redacted]", Action: "use [redacted]", Resource: "https://u:[redacted]@h/"}, 8},
		{"JSON in an attribute",
			schemas.Event{Attributes: map[string]any{"body": `{"user":"bob","token":"t"}`}},
			schemas.Event{Attributes: map[string]any{"body": `{"token":"[redacted]","user":"bob"}`}}, 1},
		{"nothing", schemas.Event{Message: "m"}, schemas.Event{Message: "m"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if n := schemas.Redact(&c.e); n != c.n {
				t.Errorf("replaced %d, want %d", n, c.n)
			}
			if diff := cmp.Diff(c.want, c.e); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedactCycle(t *testing.T) {
	m := map[string]any{"password": "x"}
	m["m"] = m
	if n := schemas.Redact(&schemas.Event{Attributes: m}); n != 1 {
		t.Errorf("replaced %d", n)
	}
}

// FuzzRedact: the secret goes whatever stands around it, the event stays valid,
// and doing it again finds nothing more.
func FuzzRedact(f *testing.F) {
	f.Add("before", "behind")
	f.Add(`{"a":"`, `"}`)
	f.Add("password=", "&x=1")
	f.Add("'token': {'", "")
	f.Fuzz(func(t *testing.T, before, behind string) {
		text := before + " " + github + " " + behind
		e := schemas.Event{Kind: schemas.KindLog, Service: "s", Message: text, Attributes: map[string]any{"password": before, "a": text, behind: before}}
		if _, err := schemas.AppendJSON(nil, &e); err != nil {
			return
		}
		schemas.Redact(&e)
		line, err := schemas.AppendJSON(nil, &e)
		if err != nil {
			t.Fatalf("no longer valid: %v", err)
		}
		if strings.Contains(string(line), github) {
			t.Fatalf("kept in %s", line)
		}
		if p := e.Attributes["password"]; behind != "password" && p != "" && p != schemas.Redacted {
			t.Fatalf("password %q", p)
		}
		if n := schemas.Redact(&e); n != 0 {
			again, err := schemas.AppendJSON(nil, &e)
			t.Fatalf("%d more: %s, then %s, %v", n, line, again, err)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	e, err := schemas.Decode([]byte(line300), schemas.Origin{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := schemas.Redact(&e); n != 0 {
			b.Fatal(fmt.Sprint(n))
		}
	}
}
