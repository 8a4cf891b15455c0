package sinks

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/dermai/millrace/notify"
	"github.com/dermai/millrace/schemas"
)

// Outbox writes what Slack, a mail server and Sentry would be sent, into a
// directory per notification: outbox/<receiver>/<id>/slack.json, email.eml and
// sentry.json. A directory is there whole or not at all, and for good once Send
// has returned nil. A second attempt finds the first and leaves it as it is.
type Outbox struct {
	name string
	dir  string // of the receiver; "": off
}

// outboxOptions are the options of an outbox.
type outboxOptions struct {
	// Dir is the directory that outbox/ is made in. Default: that of the process.
	Dir string `yaml:"dir"`
}

func buildOutbox(name string, options notify.Options, env Env) (Sink, error) {
	var o outboxOptions
	if err := options.Decode(&o); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		o.Dir = env.Dir
	}
	if !outboxName.MatchString(name) {
		return nil, errors.New("the receiver's name cannot be a directory; use letters, digits, - and _")
	}
	if o.Dir == "" {
		return &Outbox{name: name}, nil
	}
	return &Outbox{name, filepath.Join(o.Dir, "outbox", name)}, nil
}

// outboxName is what may become a path. Names of receivers and IDs of
// notifications are never anything else; what is, is refused.
var outboxName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// Off implements Sink.
func (o *Outbox) Off() (reason string, off bool) {
	if o.dir == "" {
		return "no directory: set dir", true
	}
	return "", false
}

// Send implements notify.Receiver. The reference is the directory's path below
// outbox.
func (o *Outbox) Send(_ context.Context, n schemas.Notification) (string, error) {
	if reason, off := o.Off(); off {
		return "", &SendError{Reason: reason}
	}
	if !outboxName.MatchString(n.ID) {
		return "", &SendError{Reason: "the notification's id cannot be a directory", Never: true}
	}
	files, err := outboxFiles(n)
	if err != nil {
		return "", &SendError{Reason: "the message cannot be written", Never: true}
	}
	if err := o.write(n.ID, files); err != nil {
		return "", &SendError{Reason: "outbox: " + withoutPath(err)}
	}
	return o.name + "/" + n.ID, nil
}

// outboxFiles renders the notification as each receiver would send it.
func outboxFiles(n schemas.Notification) (map[string][]byte, error) {
	slack, err1 := slackMessage(n)
	mail, err2 := emailMessage(n, "millrace@localhost", "alerts@localhost")
	sentry, err3 := sentryMessageOf(n)
	return map[string][]byte{"slack.json": slack, "email.eml": mail, "sentry.json": sentry}, errors.Join(err1, err2, err3)
}

// write makes the directory elsewhere, and moves it to its place when all of it
// is on disk.
func (o *Outbox) write(id string, files map[string][]byte) error {
	final := filepath.Join(o.dir, id)
	if _, err := os.Lstat(final); err == nil {
		return syncPath(o.dir) // an earlier attempt may have stopped before this
	}
	if err := makeDirs(o.dir); err != nil {
		return err
	}
	// A name of its own: a sender that was fenced may be writing beside this one.
	temp, err := os.MkdirTemp(o.dir, "."+id+"-")
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := writeFile(filepath.Join(temp, name), data); err != nil {
			return err
		}
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		if _, there := os.Lstat(final); there != nil {
			return err
		} // the other sender was first, with the same content
	}
	// What attempts that died have left.
	left, err := filepath.Glob(filepath.Join(o.dir, "."+id+"-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(err, syncPath(o.dir))
}

// makeDirs makes a directory and those above it, durably.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(parent)
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncPath(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// withoutPath is the cause of a file error, without the path.
func withoutPath(err error) string {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Op + ": " + e.Err.Error()
	}
	return "the directory cannot be written"
}
