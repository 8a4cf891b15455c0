package s3_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/archive/s3"
)

// rulesOf is a bucket that has lifecycle rules, and takes others if the request is
// one that S3 takes. The gateway of integration/s3 has none.
type rulesOf struct {
	text  string // "": none
	deaf  bool   // takes rules and forgets them
	put   int
	asked []string
}

func (b *rulesOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked = append(b.asked, r.Method+" "+r.URL.Path)
	body, _ := io.ReadAll(r.Body)
	_, lifecycle := r.URL.Query()["lifecycle"]
	switch {
	case !lifecycle:
		w.WriteHeader(http.StatusNotImplemented)
	case r.Method == http.MethodPut && r.Header.Get("Content-MD5") != "":
		if b.put++; !b.deaf {
			b.text = string(body)
		}
	case r.Method == http.MethodGet && b.text != "":
		_, _ = io.WriteString(w, b.text)
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<Error><Code>NoSuchLifecycleConfiguration</Code></Error>`)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func openRules(t *testing.T, b *rulesOf, cold string) *s3.Store {
	t.Helper()
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	c := config(server.URL)
	c.AuditBucket, c.Prefix, c.ColdClass, c.ColdDays = "audit", "of/millrace", cold, 30
	s, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const wantRules = `<LifecycleConfiguration>
  <Rule>
    <ID>millrace-cold</ID>
    <Filter>
      <Prefix>of/millrace/l1/telemetry/</Prefix>
    </Filter>
    <Status>Enabled</Status>
    <Transition>
      <StorageClass>STANDARD_IA</StorageClass>
      <Days>30</Days>
    </Transition>
  </Rule>
  <Rule>
    <Expiration>
      <ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>
    </Expiration>
    <ID>millrace-forget-l0</ID>
    <Filter>
      <Prefix>of/millrace/l0/telemetry/</Prefix>
    </Filter>
    <NoncurrentVersionExpiration>
      <NoncurrentDays>14</NoncurrentDays>
    </NoncurrentVersionExpiration>
    <Status>Enabled</Status>
  </Rule>
  <Rule>
    <Expiration>
      <ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>
    </Expiration>
    <ID>millrace-forget-l1</ID>
    <Filter>
      <Prefix>of/millrace/l1/telemetry/</Prefix>
    </Filter>
    <NoncurrentVersionExpiration>
      <NoncurrentDays>14</NoncurrentDays>
    </NoncurrentVersionExpiration>
    <Status>Enabled</Status>
  </Rule>
</LifecycleConfiguration>`

// TestLifecycle: rules that name nothing but telemetry, and delete nothing that is
// not deleted already; set once, in the bucket of telemetry.
func TestLifecycle(t *testing.T) {
	b := &rulesOf{}
	s := openRules(t, b, "STANDARD_IA")
	bucket, text, err := s.Lifecycle()
	if diff := cmp.Diff(wantRules, text); diff != "" || bucket != "bucket" || err != nil {
		t.Fatalf("bucket %s, %v (-want +got):\n%s", bucket, err, diff)
	}
	if len(b.asked) > 0 {
		t.Errorf("to print rules the store was asked %q", b.asked)
	}
	if changed, err := s.SetLifecycle(t.Context()); !changed || err != nil {
		t.Errorf("set: changed %t, %v", changed, err)
	}
	flat := strings.NewReplacer("\n", "", "  ", "").Replace(wantRules)
	if b.text != flat {
		t.Errorf("the bucket has\n%s\nwant\n%s", b.text, flat)
	}
	for _, request := range b.asked {
		if !strings.HasSuffix(request, " /bucket/") {
			t.Errorf("request %q: want one of the bucket of telemetry", request)
		}
	}
	if changed, err := s.SetLifecycle(t.Context()); changed || err != nil || b.put != 1 {
		t.Errorf("set again: changed %t, %v, put %d times", changed, err, b.put)
	}
	// Without a class our rule of one is taken away again.
	again := openRules(t, b, "")
	if changed, err := again.SetLifecycle(t.Context()); !changed || err != nil || strings.Contains(b.text, "Transition") {
		t.Errorf("without a class: changed %t, %v:\n%s", changed, err, b.text)
	}
}

// TestLifecycleRefused: rules of others stay, and a store without rules is not
// taken for one that has them.
func TestLifecycleRefused(t *testing.T) {
	b := &rulesOf{text: `<LifecycleConfiguration><Rule><ID>all</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><Expiration><Days>90</Days></Expiration></Rule></LifecycleConfiguration>`}
	before := b.text
	if _, err := openRules(t, b, "STANDARD_IA").SetLifecycle(t.Context()); !errors.Is(err, s3.ErrForeignRules) || b.text != before {
		t.Errorf("rules of others: %v, and the bucket has\n%s", err, b.text)
	}
	if _, err := openRules(t, &rulesOf{deaf: true}, "STANDARD_IA").SetLifecycle(t.Context()); err == nil {
		t.Error("a store that forgets rules was believed")
	}
}
