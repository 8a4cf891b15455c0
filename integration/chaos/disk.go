package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// diskSize is what a small disk holds: enough for a run, and soon full.
const diskSize = "256m"

// disks are directories of a run that have a small file system of their own.
type disks []string

// possibleDisks tells whether file systems can be mounted here.
func possibleDisks() error {
	if os.Geteuid() != 0 {
		return errors.New("a small file system needs root")
	}
	return nil
}

// add mounts a small file system on a directory.
func (d *disks) add(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskSize); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	*d = append(*d, dir)
	return nil
}

// fill takes all the room of a file system; free gives it back.
func fill(dir string) (free func() error, err error) {
	path := filepath.Join(dir, "full")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	free = func() error { return os.Remove(path) }
	for zeros := make([]byte, 1<<20); len(zeros) > 0; {
		if _, err = file.Write(zeros); errors.Is(err, syscall.ENOSPC) {
			zeros = zeros[:len(zeros)/2]
		} else if err != nil {
			return nil, errors.Join(err, free())
		}
	}
	return free, nil
}

// close unmounts what is mounted, and what is in it is gone.
func (d *disks) close() error {
	var faults []error
	for _, dir := range *d {
		faults = append(faults, syscall.Unmount(dir, syscall.MNT_DETACH))
	}
	return errors.Join(faults...)
}
