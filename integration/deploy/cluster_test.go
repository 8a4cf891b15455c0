package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/dermai/millrace/internal/testenv"
)

const root = "../.."

// roles of the configuration, and the inbox of each.
var roles = map[string]string{
	"publisher": "_INBOX_publisher", "publisher-clinic": "_INBOX_clinic", "processor": "_INBOX_processor",
	"archiver": "_INBOX_archiver", "reader": "_INBOX_reader", "consumer-fraud": "_INBOX_fraud", "operator": "_INBOX_operator",
}

// cluster is three servers of deploy/nats-cluster.conf.
type cluster struct {
	dir     string
	bin     string // of our programs
	options []*server.Options
	servers []*server.Server // that run
}

func password(role string) string { return "pass-of-" + role }

// url names all servers, for a role.
func (c *cluster) url(role string) string {
	var all []string
	for _, s := range c.servers {
		all = append(all, "tls://"+role+":"+password(role)+"@"+s.Addr().String())
	}
	return strings.Join(all, ",")
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir()}
	c.authority(t)
	for role, name := range map[string]string{
		"publisher": "PUBLISHER", "publisher-clinic": "CLINIC", "processor": "PROCESSOR", "archiver": "ARCHIVER",
		"reader": "READER", "consumer-fraud": "FRAUD", "operator": "OPERATOR", "admin": "ADMIN",
	} {
		t.Setenv("MILLRACE_NATS_"+name+"_PASSWORD", password(role))
	}
	t.Setenv("MILLRACE_NATS_STORE_KEY", "key-of-what-is-stored")
	text, err := os.ReadFile(filepath.Join(root, "deploy/nats-cluster.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for range 3 {
		routes = append(routes, testenv.FreeAddr(t))
	}
	for i := range 3 {
		name := fmt.Sprintf("nats-%d", i+1)
		t.Setenv("MILLRACE_NATS_SERVER_NAME", name)
		t.Setenv("MILLRACE_NATS_SERVER_LISTEN", testenv.FreeAddr(t))
		own := strings.NewReplacer("/etc/nats/tls", c.dir, "/var/lib/nats", c.file(name), "0.0.0.0:6222", routes[i],
			"nats-1:6222", routes[0], "nats-2:6222", routes[1], "nats-3:6222", routes[2], `http: "127.0.0.1:8222"`, "").Replace(string(text))
		c.write(t, name+".conf", []byte(own))
		opts, err := server.ProcessConfigFile(c.file(name + ".conf"))
		if err != nil {
			t.Fatal(err)
		}
		hardened(t, opts)
		opts.NoSigs, opts.NoLog = true, true
		c.options = append(c.options, opts)
	}
	t.Cleanup(c.stop)
	c.begin(t)
	return c
}

// begin starts all servers.
func (c *cluster) begin(t *testing.T) {
	t.Helper()
	for _, opts := range c.options {
		s, err := server.NewServer(opts.Clone())
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		c.servers = append(c.servers, s)
	}
	testenv.Eventually(t, "the cluster has a leader", func() error {
		led := false
		for _, s := range c.servers {
			led = led || s.JetStreamIsLeader()
		}
		if !led || !c.servers[0].JetStreamIsCurrent() || !c.servers[1].JetStreamIsCurrent() || !c.servers[2].JetStreamIsCurrent() {
			return fmt.Errorf("a leader: %t", led)
		}
		return nil
	})
}

// stop ends all servers.
func (c *cluster) stop() {
	for _, s := range c.servers {
		s.Shutdown()
	}
	for _, s := range c.servers {
		s.WaitForShutdown()
	}
	c.servers = nil
}

// hardened looks at what the file must say of a server.
func hardened(t *testing.T, o *server.Options) {
	t.Helper()
	switch {
	case !o.SyncAlways:
		t.Error("does not sync always")
	case o.TLSConfig == nil || o.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || o.TLSConfig.MinVersion != tls.VersionTLS13:
		t.Errorf("clients are not asked for certificates: %t", o.TLSConfig != nil)
	case o.Cluster.TLSConfig == nil || o.Cluster.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert || o.Cluster.TLSConfig.MinVersion != tls.VersionTLS13:
		t.Errorf("routes are not asked for certificates: %t", o.Cluster.TLSConfig != nil)
	case o.JetStreamKey == "" || o.JetStreamCipher != server.AES:
		t.Error("what is stored is not encrypted")
	case o.NoAuthUser != "" || o.MQTT.Port != 0 || o.Websocket.Port != 0 || o.LeafNode.Port != 0 || o.Gateway.Name != "":
		t.Error("there are other doors")
	case o.MaxPayload != 1<<20:
		t.Errorf("max payload %d", o.MaxPayload)
	}
}

func (c *cluster) write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(c.file(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// authority makes an authority and certificates for servers and clients.
func (c *cluster) authority(t *testing.T) {
	t.Helper()
	issue := func(name string, serial int64, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{name},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if parent == nil {
			cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
			parent, signer = cert, key
		}
		der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		c.write(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		c.write(t, name+"-key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}))
		return cert, key
	}
	ca, key := issue("ca", 1, nil, nil)
	issue("server", 2, ca, key)
	issue("client", 3, ca, key)
}

// program is one of ours with the credentials of a role: its URL, and with it the
// password, comes from a file.
func (c *cluster) program(t *testing.T, role, name string) (path string, env []string) {
	t.Helper()
	c.write(t, "url-of-"+role, []byte(c.url(role)))
	return filepath.Join(c.bin, name), []string{
		"NATS_URL_FILE=url-of-" + role, "MILLRACE_NATS_INBOX=" + roles[role],
		"MILLRACE_NATS_CA=ca.pem", "MILLRACE_NATS_CERTIFICATE=client.pem", "MILLRACE_NATS_KEY=client-key.pem",
	}
}

// run runs our command to its end.
func (c *cluster) run(t *testing.T, role string, args ...string) string {
	t.Helper()
	path, env := c.program(t, role, "millrace")
	return testenv.Program{Path: path, Args: args, Dir: c.dir, Env: env}.Run(t)
}

// start starts a daemon that ends with the test and without a fault, and returns
// its address. What the broker denied it is a fault too.
func (c *cluster) start(t *testing.T, name string) string {
	t.Helper()
	path, env := c.program(t, name, name)
	p := testenv.Daemon(t, path, c.dir, env...)
	t.Cleanup(func() {
		p.Stop()
		if said := p.Stderr(); strings.Contains(strings.ToLower(said), "permissions violation") {
			t.Errorf("%s: %s", name, said)
		}
	})
	return p.HTTP
}
