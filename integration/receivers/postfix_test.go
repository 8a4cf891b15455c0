package receivers

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dermai/millrace/internal/testenv"
	"github.com/dermai/millrace/sinks/sinkstest"
)

// postfix is a mail server that delivers what comes for alerts@localhost and
// refuses everybody else of localhost. Nothing of the machine's own Postfix is
// used but the programs.
type postfix struct {
	port      int
	caFile    string      // who vouches for it
	maildir   string      // of alerts@localhost
	delivered chan string // the number of each message as it has been delivered
}

// nobody is the user and the group that own the delivered mails: a delivery
// agent never writes as root.
const nobody = 65534

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = localhost
virtual_mailbox_maps = inline:{alerts@localhost=alerts/}
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[2]d
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = %[1]s/etc/server.pem
`

const postfixMaster = `127.0.0.1:%d inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// newPostfix starts a Postfix that wants STARTTLS. It ends with the test, with
// all its processes.
func newPostfix(t *testing.T) *postfix {
	t.Helper()
	testenv.NeedRoot(t) // several users own its files
	program := testenv.Need(t, "postfix")
	dir := postfixDir(t)
	p := &postfix{maildir: filepath.Join(dir, "mail", "alerts"), delivered: make(chan string, 1000)}
	p.port = int(netip.MustParseAddrPort(testenv.FreeAddr(t)).Port())
	certificate, ca := sinkstest.Authority(t)
	p.caFile = ca
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})...)
	for name, text := range map[string]string{
		"server.pem": string(chain), "main.cf": fmt.Sprintf(postfixMain, dir, nobody), "master.cf": fmt.Sprintf(postfixMaster, p.port),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}

	// The shell is the first process of its own namespace: when it ends so do all
	// others, and it ends with the test, however that ends. Postfix itself cannot
	// be the first: it changes users, and is not told then that its parent died.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$0" -c "$1" start-fg; exit $?`, program, filepath.Join(dir, "etc"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	p.run(t, cmd)
	return p
}

// postfixDir makes the directories. Unlike those of t.TempDir, every user comes
// to them.
func postfixDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postfix") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	err = os.Chmod(dir, 0o755)
	for _, name := range []string{"etc", "queue", "mail"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	if err := errors.Join(err, os.Chown(filepath.Join(dir, "mail"), nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	postfixStarted   = regexp.MustCompile(`/master\[\d+\]: daemon started`) // it listens by then
	postfixDelivered = regexp.MustCompile(`/virtual\[\d+\]: (\w+): to=<alerts@localhost>,.* status=sent`)
)

// run starts the server, waits until it listens, and follows its log.
func (p *postfix) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var log []string
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			log = append(log, lines.Text())
			if postfixStarted.MatchString(lines.Text()) {
				close(started)
			}
			if m := postfixDelivered.FindStringSubmatch(lines.Text()); m != nil {
				p.delivered <- m[1]
			}
		}
	}()
	t.Cleanup(func() { // the context of the test has ended by now
		<-read
		if _ = cmd.Wait(); t.Failed() {
			t.Logf("the server's log ends with:\n%s", strings.Join(log[max(0, len(log)-20):], "\n"))
		}
	})
	select {
	case <-started:
	case <-read:
		t.Fatal("postfix ended before it listened")
	case <-time.After(patience):
		t.Fatal("postfix does not listen")
	}
}

// mails are those in the mailbox, by the ID of the notification. The server has
// put headers of its own before each.
func (p *postfix) mails(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(p.maildir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSpace(parseMail(t, data).header.Get("X-Millrace-Id"))
		if out[id] != nil {
			t.Errorf("%s was delivered twice", id)
		}
		out[id] = data
	}
	return out
}
