package app_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/dermai/millrace/internal/app"
)

// TestDoctorSync: the doctor sees in the monitoring of a real server whether it
// syncs every write.
func TestDoctorSync(t *testing.T) {
	for _, c := range []struct {
		always bool
		want   string
	}{
		{true, `"check":"sync","status":"ok"`},
		{false, `"check":"sync","status":"bad","detail":"the broker syncs now and then`},
	} {
		ns, err := server.NewServer(&server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, HTTPHost: "127.0.0.1", HTTPPort: server.RANDOM_PORT,
			JetStream: true, StoreDir: t.TempDir(), SyncAlways: c.always, NoSigs: true, NoLog: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		if !ns.ReadyForConnections(time.Minute) {
			t.Fatal("the server is not ready after a minute")
		}
		var out, said strings.Builder
		code := app.Millrace(app.Process{
			Args: []string{
				"doctor", "-o", "json", "--set", "nats.url=" + ns.ClientURL(), "--set", "data=" + t.TempDir(),
				"--monitoring", "http://" + ns.MonitorAddr().String(),
			},
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said,
		})
		ns.Shutdown()
		ns.WaitForShutdown()
		if code != 1 || !strings.Contains(out.String(), c.want) {
			t.Errorf("always %t: exit %d, want 1 and %s\n%s%s", c.always, code, c.want, out.String(), said.String())
		}
	}
}

// TestTroubleshooting: every command of the document is run by the script, or
// by a test that is named here.
func TestTroubleshooting(t *testing.T) {
	document, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/script/troubleshooting.txtar")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := map[string]string{
		"millrace doctor --monitoring http://127.0.0.1:8222": "TestDoctorSync",
		"millrace archive restore AUDIT":                     "TestScript/restore",
		"millrace archive restore EVENTS_0":                  "TestScript/restore",
		"millrace verify":                                    "TestScript/restore",
	}
	ran := strings.NewReplacer(`''`, "'", "http://$HTTP", "http://127.0.0.1:8480").Replace(string(script))
	found := 0
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(document), -1) {
		for command := range strings.Lines(block[1]) {
			command = strings.TrimSpace(command)
			found++
			if !strings.Contains(ran, command) && elsewhere[command] == "" {
				t.Errorf("troubleshooting.txtar does not run %q", command)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were found", found)
	}
}
