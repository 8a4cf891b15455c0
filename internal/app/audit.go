package app

import (
	"context"
	"errors"
	"os"
	"os/user"

	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/schemas"
)

// audit publishes what was done, by whom, as an audit event of the service
// millrace, and returns once it is stored.
func (s *session) audit(ctx context.Context, conn *pipeline.Conn, who, action, resource string, details map[string]any) error {
	publisher, err := pipeline.NewPublisher(conn, pipeline.PublisherConfig{Service: "millrace", Partitions: s.config.Partitions})
	if err != nil {
		return err
	}
	success := true
	err = publisher.Publish(ctx, schemas.Event{
		Kind: schemas.KindAudit, Service: "millrace", User: who, Action: action, Resource: resource, Details: details, Success: &success,
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
	defer cancel()
	return errors.Join(err, publisher.Close(last))
}

// loggedIn is the name of the user, "" if it is not known.
func loggedIn() string {
	if name := os.Getenv("USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
