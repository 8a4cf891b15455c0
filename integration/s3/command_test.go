package s3_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dermai/millrace/archive/s3"
)

// scratch is where the gateway is, which is removed at the end; module is the
// directory of the module that has the command.
var scratch, module string

// built is the operator's command, of the module above: ours has not all it requires.
var built = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "millrace")
	out, err := exec.Command("go", "build", "-C", module, "-o", path, "./cmd/millrace").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return path, err
})

// command runs millrace with its archive in a bucket, and gives its exit code and what
// it printed.
func command(t *testing.T, c s3.Config) func(args ...string) (int, string) {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("archive: {s3: {endpoint: %q, bucket: %q, region: %q}}\n", c.Endpoint, c.Bucket, c.Region)
	if err := os.WriteFile(filepath.Join(dir, "millrace.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (int, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
}
