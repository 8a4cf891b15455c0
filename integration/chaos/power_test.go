package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/spool"
)

// TestPowerCut: what a store or a spool has said to be stored is there after the
// power went. The disk is a file with ext4 that drops, as a disk without power
// does, whatever was not synced.
func TestPowerCut(t *testing.T) {
	d := newDisk(t)
	key := "l0/audit/AUDIT/1/dt=2026-01-01/00000000000000000001.jsonl.zst"
	body := []byte(strings.Repeat("kept ", 1000))
	store, err := archive.OpenFileStore(filepath.Join(d.mount, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), key, bytes.NewReader(body), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	config := spool.Config{Dir: filepath.Join(d.mount, "spool")}
	written, err := spool.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	const records = 20
	for i := range uint64(records) {
		r := spool.Record{Lane: "lane", Batch: i + 1, Events: 1, Time: 1, Data: []byte("kept")}
		if err := written.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	d.cut(t)
	_ = written.Close() // there is no disk under it
	_ = store.Close()
	d.again(t)
	store, err = archive.OpenFileStore(filepath.Join(d.mount, "archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if got, err := archive.ReadAll(t.Context(), store, key); err != nil || !bytes.Equal(got, body) {
		t.Errorf("the archive has %d bytes of %d, %v", len(got), len(body), err)
	}
	read, err := spool.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if n, _, _ := read.Pending("lane"); n != records {
		t.Errorf("the spool has %d records of %d", n, records)
	}
}

// disk is a file system of its own whose power can be cut.
type disk struct {
	image, mount string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	testenv.NeedRoot(t)
	d := &disk{filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	file, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	must(t, testenv.Need(t, "mkfs.ext4"), "-q", "-F", d.image)
	must(t, "mount", "-o", "loop", d.image, d.mount)
	t.Cleanup(func() { must(t, "umount", d.mount) })
	return d
}

// ext4Shutdown is EXT4_IOC_SHUTDOWN of Linux, fs/ext4/ext4.h; with noLogFlush
// neither the journal nor what is cached gets to the disk any more.
const (
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
)

// cut takes the power away.
func (d *disk) cut(t *testing.T) {
	t.Helper()
	dir, err := os.Open(d.mount)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatal(errno)
	}
}

// again mounts what is on the disk.
func (d *disk) again(t *testing.T) {
	t.Helper()
	must(t, "umount", d.mount)
	must(t, "mount", "-o", "loop", d.image, d.mount)
}

func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
