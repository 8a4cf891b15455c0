package schemas

// Silence is a stored silence: while it holds, nobody is told of the alerts that
// all its matchers match.
type Silence struct {
	ID       string   `json:"id"`
	Matchers []string `json:"matchers"` // as of routes: label=value, ...
	Starts   int64    `json:"starts"`   // Unix ns, the first instant
	Ends     int64    `json:"ends"`     // Unix ns, the first instant after it
	Author   string   `json:"author"`
	Comment  string   `json:"comment"`
	Created  int64    `json:"created"` // Unix ns
}
