package sinks_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// verifyWebhook tells whether a body was signed with key within five minutes of
// now. header is that of Millrace-Signature: t=<Unix seconds>,v1=<hex>.
func verifyWebhook(key []byte, header string, body []byte, now time.Time) error {
	at, signature, _ := strings.Cut(header, ",")
	seconds, err := strconv.ParseInt(strings.TrimPrefix(at, "t="), 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("not signed just now")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%d.%s", seconds, body)
	got, err := hex.DecodeString(strings.TrimPrefix(signature, "v1="))
	if err != nil || !hmac.Equal(got, mac.Sum(nil)) {
		return errors.New("not signed with this key")
	}
	return nil
}

// A server that takes webhooks checks the signature before it looks at the body,
// and remembers the Idempotency-Key of those that it has done.
func ExampleWebhook() {
	header := http.Header{"Millrace-Signature": {"t=1772366405,v1=7d37af3c0d0f7bbf4fc01dd4b2ecf2e584eb5833f6bd885101215a5f11a1adfe"}}
	body := []byte(`{"version":1,"title":"[FIRING] HighErrorRate service=api"}`)
	err := verifyWebhook([]byte("a long random key"), header.Get("Millrace-Signature"), body, time.Unix(1772366410, 0))
	fmt.Println("signed:", err == nil)
	err = verifyWebhook([]byte("a long random key"), header.Get("Millrace-Signature"), append(body, ' '), time.Unix(1772366410, 0))
	fmt.Println("changed:", err)
	// Output:
	// signed: true
	// changed: not signed with this key
}
