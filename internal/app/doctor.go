package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// doctorCommand looks at everything that a deployment rests on. Findings: what
// is not well, each with its mend.
type doctorCommand struct {
	Monitoring string        `placeholder:"URL" help:"Where the broker's monitoring answers, such as http://127.0.0.1:8222: only there can be seen whether it syncs every write."`
	Stale      time.Duration `default:"1m" help:"How old what waits for a stage may be."`
}

// examination is a running doctorCommand.
type examination struct {
	*doctorCommand
	*session
	conn *pipeline.Conn
	log  *pipeline.Log
	now  int64 // by the broker's clock, Unix ns
	bad  int
}

// diagnosis is what a check found, as JSON.
type diagnosis struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, off or bad
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

func (c *doctorCommand) Run(ctx context.Context, s *session) error {
	if err := s.out.header("STATUS", "CHECK", "WHAT", "MEND"); err != nil {
		return err
	}
	x := &examination{doctorCommand: c, session: s}
	conn, err := s.connect(ctx, "millrace doctor", nil, nil)
	if err != nil {
		_ = x.says("broker", "bad", err.Error(), "start it (millrace up, or a nats-server), or name it with nats.url") // the error tells as well
		return err
	}
	defer conn.Close()
	x.conn, x.log = conn, conn.Log()
	defer x.log.Close()
	x.now = time.Now().UnixNano()
	for _, check := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"sync", x.sync}, {"streams", x.streams}, {"clock", x.clock}, {"fill", x.fill}, {"processors", x.processors},
		{"reduce", x.reduced}, {"receivers", x.told}, {"archive", x.archived}, {"verify", x.verified}, {"quarantine", x.quarantine},
	} {
		if err := check.run(ctx); err != nil { // one that cannot look does not keep the others from it
			if err := x.says(check.name, "bad", err.Error(), "see what the streams check says, then run me again"); err != nil {
				return err
			}
		}
	}
	if x.bad > 0 {
		return findingsError(plural(x.bad, "check") + " found something wrong")
	}
	return nil
}

func (x *examination) says(check, status, detail, mend string) error {
	if status == "bad" {
		x.bad++
	}
	detail = strings.ReplaceAll(detail, "\n", "; ")
	return x.out.print(diagnosis{check, status, detail, mend}, status, check, detail, mend)
}

// sync tells whether a write is on disk when the broker says so.
func (x *examination) sync(ctx context.Context) error {
	if x.Monitoring == "" && x.config.NATS.URL.IsZero() {
		return x.says("sync", "ok", "the broker of millrace up syncs every write", "")
	}
	if x.Monitoring == "" {
		return x.says("sync", "bad", "cannot be seen: stored events may not survive a power cut",
			"set http_port in the broker's file and run millrace doctor --monitoring http://HOST:8222")
	}
	always, err := syncsAlways(ctx, x.Monitoring)
	switch {
	case err != nil:
		return x.says("sync", "bad", "cannot be seen: "+err.Error(), "name the broker's http_port with --monitoring")
	case !always:
		return x.says("sync", "bad", "the broker syncs now and then: stored events may not survive a power cut",
			"set sync_interval: always in the jetstream block of the broker's file, and restart it")
	}
	return x.says("sync", "ok", "the broker syncs every write", "")
}

// syncsAlways asks a server's monitoring (https://docs.nats.io, /jsz).
func syncsAlways(ctx context.Context, monitoring string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitoring, "/")+"/jsz?config=1", nil)
	if err != nil {
		return false, errors.New("the URL of --monitoring cannot be read")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, errors.New("its monitoring does not answer")
	}
	defer resp.Body.Close()
	var seen struct {
		ID     string `json:"server_id"`
		Config struct {
			Always bool `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&seen); err != nil || seen.ID == "" {
		return false, errors.New("what answers is no monitoring of a broker")
	}
	return seen.Config.Always, nil
}

// streams tells whether the broker is as the configuration says.
func (x *examination) streams(ctx context.Context) error {
	var changes []string
	err := x.apply(ctx, x.conn, nil, true, func(c pipeline.Change) error {
		changes = append(changes, c.String())
		return nil
	})
	switch {
	case err != nil:
		return x.says("streams", "bad", err.Error(), "as it says")
	case len(changes) > 0:
		return x.says("streams", "bad", "not as the configuration says: "+strings.Join(changes, "; "), "run millrace apply")
	}
	return x.says("streams", "ok", "as the configuration says, rules too", "")
}

// maxSkew is how far clocks may differ: events of the future count when they
// arrive, and late ones in no window of theirs.
const maxSkew = time.Second

func (x *examination) clock(ctx context.Context) error {
	ahead, within, err := x.conn.Ahead(ctx)
	if err != nil {
		return err
	}
	x.now += int64(ahead)
	if (ahead-within).Abs() > maxSkew && (ahead+within).Abs() > maxSkew {
		return x.says("clock", "bad", fmt.Sprintf("the broker's clock is %v ahead of this machine's", ahead.Round(time.Millisecond)),
			"let both follow a time server: events that come late by their time miss their windows")
	}
	return x.says("clock", "ok", "the broker's and this machine's agree", "")
}

// maxFill is the share of a stream above which somebody should look; doors
// refuse events at 95 %.
const maxFill = 0.8

func (x *examination) fill(ctx context.Context) error {
	names := []string{
		schemas.StreamPartials, schemas.StreamAlerts, schemas.StreamCheckpoint, schemas.StreamControl,
		schemas.StreamNotify, schemas.StreamDeliveries, schemas.StreamQuarantine,
	}
	partitions, err := openPartitions(ctx, x.log)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		names = append(names, p.Stream())
	}
	fullest, most := "", -1.0
	for _, name := range names {
		used, err := x.conn.Headroom(ctx, name)
		if err != nil {
			return err
		}
		if used > most {
			fullest, most = name, used
		}
	}
	detail := fmt.Sprintf("the fullest stream, %s, is %.0f %% full", fullest, 100*most)
	if most > maxFill {
		return x.says("fill", "bad", detail, "see why it is not trimmed: the archive and processors checks; or give it more bytes on the broker")
	}
	return x.says("fill", "ok", detail, "")
}
