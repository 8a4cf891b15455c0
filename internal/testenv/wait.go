package testenv

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// patience is for one condition, on a machine that does much else.
const patience = 3 * time.Minute

// Eventually polls until holds returns no error, and ends the test with its last
// error if that takes minutes.
func Eventually(tb testing.TB, what string, holds func() error) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			tb.Fatalf("not within %v: %s: %v", patience, what, err)
		}
	}
}

// Get returns what a URL answers. Any other status than 200 is an error.
func Get(url string) ([]byte, error) {
	resp, err := http.Get(url) //nolint:gosec // the test chose it
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}
