package main

import (
	"context"
	"time"
)

// cutBroker cuts the power of the broker's disk, and brings it back.
func (d *deployment) cutBroker() error {
	if err := d.process.stop(); err != nil {
		return err
	}
	err := d.c.disk.cut()
	d.process.kill()
	if err == nil {
		err = d.c.disk.restore()
	}
	if err == nil {
		err = d.start()
	}
	return err
}

// provisioning: the power is cut while the streams are made, or at once after:
// what is missing is made then, and what apply had said is there is there.
func provisioning(ctx context.Context, c *trial) error {
	d, err := c.deploy(ctx, c.disk.dir+"/broker")
	if err != nil {
		return err
	}
	defer d.close()
	applied := make(chan error, 1)
	first, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() {
		_, err := d.apply(first)
		applied <- err
	}()
	// apply takes about a second here; every other time the power is cut behind it.
	finished := false
	if c.random.IntN(2) == 0 {
		if err := <-applied; err != nil {
			return err
		}
		finished = true
	} else {
		time.Sleep(time.Duration(c.random.IntN(1500)) * time.Millisecond)
		select {
		case err := <-applied:
			if err != nil {
				return err
			}
			finished = true
		default:
		}
	}
	if err := d.cutBroker(); err != nil {
		return err
	}
	if !finished {
		giveUp()
		<-applied //nolint:errcheck // whatever became of it
	}
	changes, err := d.apply(ctx)
	if err != nil {
		return c.fail("apply does not go on: %v", err)
	}
	if finished && changes > 0 {
		return c.fail("apply had ended, and %d things are missing", changes)
	}
	publishing, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := d.publish(publishing); err != nil {
		return c.fail("nothing can be published: %v", err)
	}
	return d.check(ctx, false)
}

// publishing: the power is cut once or twice while publishers publish and an
// archiver archives. What was stored is there, once.
func publishing(ctx context.Context, c *trial) error {
	d, err := c.deploy(ctx, c.disk.dir+"/broker")
	if err != nil {
		return err
	}
	defer d.close()
	if _, err := d.apply(ctx); err != nil {
		return err
	}
	return d.under(ctx, false, func() error {
		for range 1 + c.random.IntN(2) {
			time.Sleep(time.Duration(200+c.random.IntN(1500)) * time.Millisecond)
			if err := d.cutBroker(); err != nil {
				return err
			}
		}
		return nil
	})
}

// under publishes and archives while something is done to the broker, and checks.
func (d *deployment) under(ctx context.Context, damaged bool, do func() error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	published, kept := make(chan error, 1), make(chan error, 1)
	go func() { published <- d.publish(working) }()
	archiving, stopArchiving := context.WithCancel(ctx)
	defer stopArchiving()
	go func() { kept <- d.keep(archiving) }()
	err := do()
	d.back = time.Now()
	if err == nil {
		time.Sleep(time.Second) // traffic behind it
	}
	stop()
	pub := <-published
	stopArchiving()
	arch := <-kept
	switch {
	case err != nil:
		return err
	case !damaged && pub != nil:
		return d.c.fail("the publisher did not end: %v", pub)
	case !damaged && arch != nil:
		return d.c.fail("the archiver: %v", arch)
	}
	return d.check(ctx, damaged)
}
