package seedapp_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/google/go-cmp/cmp"

	"github.com/dermai/millrace/internal/testenv"
)

var requestsTotal = regexp.MustCompile(`(?m)^api_requests_total\{.*status="(\d+)".*\} (\S+)$`)

// requests sums the requests in what /metrics shows, by status.
func requests(metrics string) map[string]float64 {
	sum := map[string]float64{}
	for _, m := range requestsTotal.FindAllStringSubmatch(metrics, -1) {
		n, _ := strconv.ParseFloat(m[2], 64)
		sum[m[1]] += n
	}
	return sum
}

// counted: the processor comes to the same numbers of requests, from logs, as the
// application, which counts them as the guide says.
func (d *deployment) counted() {
	d.t.Helper()
	var text string // the guide's endpoint answers with a string of JSON
	if err := json.Unmarshal([]byte(d.get(200, "/metrics")), &text); err != nil {
		d.t.Fatal(err)
	}
	want := requests(text)
	want["200"]++ // the one that asked
	if want["500"] != 1 {
		d.t.Errorf("the application counts %v: one was answered 500, and of the exception it knows nothing", want)
	}
	testenv.Eventually(d.t, "the processor counts the requests", func() error {
		text, err := testenv.Get("http://" + d.processor.HTTP + "/metrics")
		if diff := cmp.Diff(want, requests(string(text))); err == nil && diff != "" {
			err = fmt.Errorf("api_requests_total (-application +processor):\n%s", diff)
		}
		return err
	})
}
