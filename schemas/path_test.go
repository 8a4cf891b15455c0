package schemas_test

import (
	"testing"

	"github.com/dermai/millrace/schemas"
)

func TestPathTemplate(t *testing.T) {
	for path, want := range map[string]string{
		"":                                  "/",
		"/":                                 "/",
		"/health":                           "/health",
		"/api/v1/patients":                  "/api/v1/patients",
		"/api/v1/patients/4711/notes":       "/api/v1/patients/{id}/notes",
		"/api/patients/4711/notes/?name=x":  "/api/patients/{id}/notes",
		"/patients/smith":                   "/patients/{id}",
		"/patients/smith/records/jones":     "/patients/{id}/records/{id}",
		"/report/Jane%20Doe":                "/report/{id}",
		"/report/jane-doe":                  "/report/{id}",
		"/report/1980-01-02":                "/report/{id}",
		"/report/jane.doe@example.org":      "/report/{id}",
		"/a/6f1b6e0e-0f5e-4e0a-9a6e-abcdef": "/a/{id}",
		"/a/abcdefghijklmnopqrstuvwxyz":     "/a/{id}",
		"/a/Ünal":                           "/a/{id}",
		"https://host:1/patient_list#smith": "/patient_list",
		"https://jane@host":                 "/",
		"/a/b/c/d/e/f/g/h/i/j":              "/a/b/c/d/e/f/g/h/...",
		"GET smith":                         "/{id}",
		"//double///slash":                  "/double/slash",
	} {
		if got := schemas.PathTemplate(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
