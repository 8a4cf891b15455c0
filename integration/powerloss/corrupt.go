package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dermai/millrace/schemas"
)

// corruption does something to the broker's files while it is down, or to its
// streams while it is up, and checks that nothing is gone, or there twice, in
// silence.
func corruption(do func(context.Context, *deployment) error) func(context.Context, *trial) error {
	return func(ctx context.Context, c *trial) error {
		d, err := c.deploy(ctx, filepath.Join(c.dir, "broker"))
		if err != nil {
			return err
		}
		defer d.close()
		if _, err := d.apply(ctx); err != nil {
			return err
		}
		return d.under(ctx, true, func() error {
			d.traffic()
			return do(ctx, d)
		})
	}
}

// traffic lets some time pass.
func (d *deployment) traffic() {
	time.Sleep(time.Duration(500+d.c.random.IntN(1500)) * time.Millisecond)
}

// killed does something to the broker's files between a kill -9 and the next
// start.
func (d *deployment) killed(do func() error) error {
	d.down = time.Now()
	d.process.kill()
	if err := do(); err != nil {
		return err
	}
	return d.start()
}

// rewind puts the broker's files back to what they were some time ago: a backup
// that was restored.
func rewind(_ context.Context, d *deployment) error {
	backup := filepath.Join(d.c.dir, "backup")
	if err := d.killed(func() error { return os.CopyFS(backup, os.DirFS(d.dir)) }); err != nil {
		return err
	}
	d.traffic()
	return d.killed(func() error {
		if err := os.RemoveAll(d.dir); err != nil {
			return err
		}
		return os.CopyFS(d.dir, os.DirFS(backup))
	})
}

// blocks are the files with the messages of the events.
func (d *deployment) blocks() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(d.dir, "jetstream", "*", "streams", "EVENTS_0", "msgs", "*.blk"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no blocks in %s", d.dir)
	}
	return files, err
}

// spoil changes the last block of the events.
func (d *deployment) spoil(change func(b []byte) []byte) error {
	return d.killed(func() error {
		files, err := d.blocks()
		if err != nil {
			return err
		}
		file := files[len(files)-1]
		b, err := os.ReadFile(file)
		if err != nil || len(b) == 0 {
			return fmt.Errorf("%s has %d bytes: %w", file, len(b), err)
		}
		return os.WriteFile(file, change(b), 0o600)
	})
}

func flip(_ context.Context, d *deployment) error {
	return d.spoil(func(b []byte) []byte {
		b[d.c.random.IntN(len(b))] ^= 1 << d.c.random.IntN(8)
		return b
	})
}

func truncate(_ context.Context, d *deployment) error {
	return d.spoil(func(b []byte) []byte { return b[:d.c.random.IntN(len(b))] })
}

func zero(_ context.Context, d *deployment) error {
	return d.spoil(func(b []byte) []byte {
		at := d.c.random.IntN(len(b))
		clear(b[at:min(len(b), at+1+d.c.random.IntN(4096))])
		return b
	})
}

// forget takes the files of the events away: apply names the stream and makes no
// other in its place. Then they are brought back.
func forget(ctx context.Context, d *deployment) error {
	files, err := d.blocks()
	if err != nil {
		return err
	}
	stream, away := filepath.Dir(filepath.Dir(files[0])), filepath.Join(d.c.dir, "away")
	if err := d.killed(func() error { return os.Rename(stream, away) }); err != nil {
		return err
	}
	if _, err := d.apply(ctx); err == nil || !strings.Contains(err.Error(), "EVENTS_0") {
		return d.c.fail("the stream is gone, and apply says %v", err)
	}
	return d.killed(func() error { return os.Rename(away, stream) })
}

// middle takes messages out of the middle of the stream, as somebody may who has
// the rights.
func middle(ctx context.Context, d *deployment) error {
	log := d.conn.Log()
	defer log.Close()
	stream := schemas.Partition(0).Stream()
	info, err := log.Info(ctx, stream)
	if err != nil {
		return err
	}
	entries, err := log.Read(ctx, stream, max(1, info.Last/2), 1)
	if err != nil || len(entries) == 0 {
		return fmt.Errorf("nothing to take from %s up to %d: %w", stream, info.Last, err)
	}
	return log.Trim(ctx, stream, entries[0].Subject, info.Last)
}
