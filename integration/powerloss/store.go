package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/spool"
)

// writeUntilCut lets a child write until it has said some lines, and cuts the
// power. It returns what the child said.
func (c *trial) writeUntilCut(ctx context.Context, role string) (said []string, dir string, err error) {
	dir = filepath.Join(c.disk.dir, role)
	p, err := start(role, dir, c.seed, "")
	if err != nil {
		return nil, "", err
	}
	for want := 1 + c.random.IntN(300); len(said) < want; {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return nil, "", fmt.Errorf("the child ended: %s", p.stderr.String())
			}
			said = append(said, line)
		case <-ctx.Done():
			p.kill()
			return nil, "", ctx.Err()
		}
	}
	if err := p.stop(); err != nil {
		return nil, "", err
	}
	err = c.disk.cut()
	said = append(said, p.kill()...)
	if err == nil {
		err = c.disk.restore()
	}
	c.count("durable", len(said))
	return said, dir, err
}

// fileStore: every object whose Put returned nil or ErrExists is there and whole,
// and nothing is there in part.
func fileStore(ctx context.Context, c *trial) error {
	said, dir, err := c.writeUntilCut(ctx, "store")
	if err != nil {
		return err
	}
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		return c.fail("the store does not open: %v", err)
	}
	defer store.Close()
	there := map[string]bool{}
	for o, err := range store.List(ctx, "", "") {
		if err != nil {
			return err
		}
		b, err := archive.ReadAll(ctx, store, o.Key)
		if err != nil || !bytes.Equal(b, body(c.seed, o.Key)) {
			return c.fail("%s has %d bytes and is not what was put: %v", o.Key, len(b), err)
		}
		there[o.Key] = true
	}
	for _, key := range said {
		if !there[key] {
			return c.fail("%s is gone", key)
		}
		b := body(c.seed, key)
		if err := store.Put(ctx, key, bytes.NewReader(b), int64(len(b))); err == nil {
			return c.fail("%s could be put again", key)
		}
	}
	return nil
}

// publishersSpool: every record that Append took is there, or done, and is what it
// was; nothing that was taken is damaged.
func publishersSpool(ctx context.Context, c *trial) error {
	said, dir, err := c.writeUntilCut(ctx, "spool")
	if err != nil {
		return err
	}
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 512 << 20})
	if err != nil {
		return c.fail("the spool does not open: %v", err)
	}
	defer s.Close()
	there := map[string]bool{}
	for w := range spoolLanes {
		_, _, done := s.Pending(spoolLane(w))
		for batch := range done {
			there[fmt.Sprintf("%s#%d", spoolLane(w), batch+1)] = true
		}
		for {
			records, err := s.Peek(spoolLane(w), func(*spool.Record) bool { return true })
			if err != nil {
				return c.fail("%s cannot be read: %v", spoolLane(w), err)
			}
			if len(records) == 0 {
				break
			}
			for _, r := range records {
				name := fmt.Sprintf("%s#%d", r.Lane, r.Batch)
				if !bytes.Equal(r.Data, body(c.seed, name)) {
					return c.fail("%s is not what was appended", name)
				}
				there[name] = true
				s.Done(r.Lane, r.Batch)
			}
		}
	}
	for _, name := range said {
		if !there[name] {
			return c.fail("%s is gone; damaged: %v", name, s.Damage())
		}
	}
	return ctx.Err()
}
