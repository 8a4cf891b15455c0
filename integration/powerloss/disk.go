package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file, whose power can be cut: what was not
// synced is gone then.
type disk struct {
	image string
	dir   string // where it is mounted
}

const (
	diskBytes = 1 << 30 // the file is sparse
	// EXT4_IOC_SHUTDOWN of Linux's fs/ext4/ext4.h, and the flag that drops the
	// journal with the pages.
	ioctlShutdown = 0x8004587d
	noLogFlush    = 2
)

// newDisk makes and mounts a disk in a directory. It needs root and loop devices.
func newDisk(dir string) (*disk, error) {
	d := &disk{image: filepath.Join(dir, "disk.img"), dir: filepath.Join(dir, "disk")}
	file, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(diskBytes), file.Close(), os.Mkdir(d.dir, 0o700)); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", "-F", d.image); err != nil {
		return nil, err
	}
	return d, d.mount()
}

func (d *disk) mount() error { return command("mount", "-o", "loop", d.image, d.dir) }

// cut cuts the power: nothing more is written. Whoever writes is stopped before,
// and killed before the power comes back.
func (d *disk) cut() error {
	file, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.IoctlSetPointerInt(int(file.Fd()), ioctlShutdown, noLogFlush); err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.dir, err)
	}
	return nil
}

// restore brings the power back.
func (d *disk) restore() error {
	if err := d.unmount(); err != nil {
		return err
	}
	return d.mount()
}

func (d *disk) unmount() error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := command("umount", d.dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // a killed process still holds it
	}
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
