// Package testenv tells tests what the machine has, and runs programs for them.
//
// The invariant: nothing is skipped in silence. With CI=true a missing program
// fails the test; elsewhere it skips it, naming what to install.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// aside is where Debian keeps servers: not everybody's PATH leads there.
var aside = []string{"/usr/sbin", "/usr/lib/postgresql/*/bin"}

// Need returns the path of a program that the test runs. Where the program is
// missing, the test ends: failed with CI=true, skipped otherwise.
func Need(tb testing.TB, program string) string {
	tb.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	for _, dir := range aside {
		if found, err := filepath.Glob(filepath.Join(dir, program)); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is not installed, and CI=true skips nothing: add it to scripts/install.sh", program)
	}
	tb.Skipf("%s is not installed: run make install", program)
	return ""
}

// NeedPython returns the path of the system's Python, which has these modules.
// Where one is missing, the test ends as with Need. It is not the first python3
// in PATH, which may be another, without the packages of the system.
func NeedPython(tb testing.TB, modules ...string) string {
	tb.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import "+strings.Join(modules, ", ")).Run(); err == nil {
		return python
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s lacks one of %v, and CI=true skips nothing: add its package to scripts/install.sh", python, modules)
	}
	tb.Skipf("%s lacks one of %v: run make install", python, modules)
	return ""
}

// NeedRoot ends the test as Need does, unless it runs as root.
func NeedRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("this is not root, and CI=true skips nothing: run it as root")
	}
	tb.Skipf("this is not root: run it as root")
}

// Tmpfs mounts a file system in memory of a size, such as "1m", that ends with
// the test. It needs root: without that the test ends as Need ends it.
func Tmpfs(tb testing.TB, size string) string {
	tb.Helper()
	dir := tb.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatalf("mount a small file system: %v; CI=true skips nothing: run it as root", err)
	}
	if err != nil {
		tb.Skipf("mount a small file system: %v; run it as root", err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
	return dir
}
