package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// MaxPayload is the largest message that the server takes, in bytes.
const MaxPayload = 1 << 20

// Config of an embedded server.
type Config struct {
	// Dir holds everything that the server stores. Required; created if missing.
	Dir string
	// Listen is the address for other processes, such as 127.0.0.1:4222, or with
	// port 0 for any free port. It must be a loopback address, since the server
	// asks nobody for a password. "": only this process can connect.
	Listen string
	// MaxMemory bounds what memory streams hold, in bytes. 0: 64 MiB.
	MaxMemory int64
	// MaxStore bounds what file streams reserve together, in bytes. 0: 10 GiB.
	MaxStore int64
	// Logger gets what the server says. The zero value says nothing.
	Logger zerolog.Logger
}

// Validate joins all faults of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("data directory: empty; name the directory that holds the streams"))
	}
	if c.Listen != "" {
		if _, _, err := c.listen(); err != nil {
			faults = append(faults, err)
		}
	}
	if c.MaxMemory < 0 || c.MaxStore < 0 {
		faults = append(faults, errors.New("limits of memory and store: below zero"))
	}
	return errors.Join(faults...)
}

func (c Config) listen() (host string, port int, err error) {
	host, p, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", 0, fmt.Errorf("listen address %q: want host:port, such as 127.0.0.1:4222", c.Listen)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("listen address %q: port %q is not a number from 0 to 65535", c.Listen, p)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("listen address %q: the embedded server has no passwords and listens on loopback only; run a nats-server of its own with deploy/nats.conf to reach it from elsewhere", c.Listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// Server is a running embedded server.
type Server struct {
	nats *server.Server
	dir  string
	lock *os.File
	down sync.Once
}

// startup is how long the server may take to recover its streams.
const startup = time.Minute

// Start runs a server until Shutdown. It fails if another process has the
// directory.
func Start(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded server: data directory: %w", err)
	}
	lock, err := acquire(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	opts := &server.Options{
		ServerName:             "millrace",
		DontListen:             c.Listen == "",
		JetStream:              true,
		StoreDir:               c.Dir,
		SyncAlways:             true,
		JetStreamMaxMemory:     cmp.Or(c.MaxMemory, 64<<20),
		JetStreamMaxStore:      cmp.Or(c.MaxStore, 10<<30),
		MaxPayload:             MaxPayload,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
	}
	if c.Listen != "" {
		opts.Host, opts.Port, _ = c.listen()
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	log := &logger{Logger: c.Logger}
	ns.SetLoggerV2(log, false, false, false)
	s := &Server{nats: ns, dir: c.Dir, lock: lock}
	ns.Start()
	for deadline := time.Now().Add(startup); !ns.ReadyForConnections(100 * time.Millisecond); {
		if fatal := log.fatal.Load(); fatal != nil || time.Now().After(deadline) {
			s.Shutdown()
			if fatal == nil {
				return nil, fmt.Errorf("embedded server in %s: not ready after %s", c.Dir, startup)
			}
			return nil, fmt.Errorf("embedded server in %s: %s", c.Dir, *fatal)
		}
	}
	if js := ns.JetStreamConfig(); js == nil || !js.SyncAlways {
		s.Shutdown()
		return nil, fmt.Errorf("embedded server in %s: it does not store, or does not sync every write", c.Dir)
	}
	return s, nil
}

// acquire takes the directory's lock, which ends with the process.
func acquire(dir string) (*os.File, error) {
	path := filepath.Join(dir, "millrace.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another process; stop that one, connect to it with NATS_URL, or give this one a directory of its own", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// InProcessConn opens a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

// URL is where other processes of this machine connect, "" without a listener.
func (s *Server) URL() string {
	if addr, ok := s.nats.Addr().(*net.TCPAddr); ok && addr != nil {
		return "nats://" + addr.String()
	}
	return ""
}

// Sync puts everything that the file system holds of the data directory on
// disk. The server syncs messages and definitions itself; the directory entries
// of a new stream are synced here, so it is called after streams were created.
func (s *Server) Sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync the data directory %s: %w", s.dir, err)
	}
	return nil
}

// Shutdown ends the server and returns when its files are closed and the
// directory is free. Connections should be closed before. More calls do nothing.
func (s *Server) Shutdown() {
	s.down.Do(func() {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		s.lock.Close()
	})
}
