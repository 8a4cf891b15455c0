package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dermai/millrace/internal/child"
	"github.com/dermai/millrace/pipeline"
	"github.com/dermai/millrace/rules"
)

// cluster is everything that faults reach: the servers and the programs on them,
// in one directory. Each program goes to each server over a link of its own.
type cluster struct {
	o   *Options
	bin string
	dir string // of the run

	receivers  string   // host:port
	env        []string // of all programs
	servers    []*server
	publisher  *process
	processors []*process
	archivers  []*process
	store      *store // nil: files
	links      []*link
	network    *network // of the servers, where there are several; nil: loopback
	disks      disks
	partitions int
	ports      map[string]bool // that programs of this run have
}

// server is a nats-server.
type server struct {
	*process
	addr string // where clients reach it, past all links
	host string
	node string // its namespace; "": none
}

// newCluster writes the configuration; start begins it.
func newCluster(o *Options, bin, dir, receivers string) (*cluster, error) {
	c := &cluster{o: o, bin: bin, dir: dir, receivers: receivers, partitions: 4, ports: map[string]bool{}}
	for _, d := range []string{diskOfData, "nats"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return c, err
		}
	}
	if err := c.addServers(); err != nil {
		return c, err
	}
	if slices.Contains(o.Faults, "full") {
		if err := c.disks.add(filepath.Join(dir, diskOfData)); err != nil {
			return c, err
		}
	}
	if o.Store == storeS3 {
		if err := c.addStore(); err != nil {
			return c, err
		}
	}
	for name, text := range map[string]string{"demo.yaml": rules.Demo().Text, "audit.yaml": auditRules} {
		if err := c.write(name, text); err != nil {
			return c, err
		}
	}
	if err := c.configure(); err != nil {
		return c, err
	}
	var err error
	if c.publisher, err = c.daemon("publisher", "publisher"); err != nil {
		return c, err
	}
	for i := range o.Processors {
		p, err := c.daemon(fmt.Sprintf("processor-%d", i+1), "processor")
		if err != nil {
			return c, err
		}
		c.processors = append(c.processors, p)
	}
	for i := range 2 {
		p, err := c.daemon(fmt.Sprintf("archiver-%d", i+1), "archiver")
		if err != nil {
			return c, err
		}
		c.archivers = append(c.archivers, p)
	}
	return c, nil
}

// configuration of all programs; where they reach the servers comes from the
// environment of each.
const configuration = `
data: %[1]q
nats: {url: %[2]q}
replicas: %[3]d
partitions: %[6]d
rules: [demo.yaml, audit.yaml]
archive: {cut_age: 2s%[7]s}
route:
  receiver: team
  group_interval: 2s
  repeat_interval: 10s
  routes:
    - {receiver: hook, matchers: ["severity=critical"], continue: true}
    - {receiver: team}
receivers:
  - {name: team, max_per_minute: 0, slack: {webhook_url: "http://%[4]s/team/T0/B0", timeout: %[5]s}}
  - {name: hook, max_per_minute: 0, webhook: {url: "http://%[4]s/hook", timeout: %[5]s}}
`

func (c *cluster) write(name, text string) error {
	return os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600)
}

// configure writes the configuration of all programs, as it is now.
func (c *cluster) configure() error {
	return c.write("millrace.yaml", fmt.Sprintf(configuration, filepath.Join(c.dir, diskOfData), c.url(), c.o.Servers, c.receivers, receiverAnswer, c.partitions, c.archiveConfig()))
}

// addServers prepares the nats-servers in the setting that we ship: one on
// loopback, or three in namespaces of their own.
func (c *cluster) addServers() (err error) {
	if c.o.Servers > 1 {
		if c.network, err = newNetwork(); err != nil {
			return err
		}
	}
	for i := range c.o.Servers {
		s := &server{host: "127.0.0.1"}
		c.servers = append(c.servers, s)
		if c.network != nil {
			if s.node, s.host, err = c.network.add(i + 1); err != nil {
				return err
			}
		}
	}
	for i, s := range c.servers {
		if err := c.prepare(s, fmt.Sprintf("nats-%d", i+1)); err != nil {
			return err
		}
	}
	return nil
}

// prepare writes the configuration of a server.
func (c *cluster) prepare(s *server, name string) error {
	store := filepath.Join(c.dir, "nats", name)
	if slices.Contains(c.o.Faults, "full") {
		if err := c.disks.add(store); err != nil {
			return err
		}
	}
	port, err := c.freePort()
	if err != nil {
		return err
	}
	s.addr = net.JoinHostPort(s.host, port)
	text := fmt.Sprintf("server_name: %s\nlisten: %q\nmax_payload: 1MB\n"+
		"jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 20GB, sync_interval: always }\n", name, s.addr, store)
	if len(c.servers) > 1 {
		var routes []string
		for _, other := range c.servers {
			routes = append(routes, fmt.Sprintf("%q", "nats-route://"+other.host+":6222"))
		}
		// Clients know the servers by their links alone.
		text += fmt.Sprintf("cluster { name: chaos, listen: \"%s:6222\", no_advertise: true, routes: [%s] }\n", s.host, strings.Join(routes, ", "))
	}
	if err := c.write(name+".conf", text); err != nil {
		return err
	}
	if s.process, err = c.program(name, "nats-server", "-c", name+".conf"); err != nil {
		return err
	}
	if s.node != "" {
		s.wrap = []string{"ip", "netns", "exec", s.node}
	}
	return nil
}

// url names all servers, past all links.
func (c *cluster) url() string {
	var all []string
	for _, s := range c.servers {
		all = append(all, "nats://"+s.addr)
	}
	return strings.Join(all, ",")
}

// over gives the URLs of the servers for a client, over links of its own.
func (c *cluster) over(client string) (string, error) {
	var all []string
	for _, s := range c.servers {
		k, err := newLink(client+" to "+s.name, s.addr)
		if err != nil {
			return "", err
		}
		c.links = append(c.links, k)
		all = append(all, "nats://"+k.addr())
	}
	return strings.Join(all, ","), nil
}

// holdLinks takes those links of a client, or of all, that no other fault has.
func (c *cluster) holdLinks(client string) []*link {
	var list []*link
	for _, k := range c.links {
		if (client == "all links" || strings.HasPrefix(k.name, client+" to ")) && k.held.TryLock() {
			list = append(list, k)
		}
	}
	return list
}

func (c *cluster) program(name, binary string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(c.dir, "logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return &process{Program: child.Program{Path: filepath.Join(c.bin, binary), Args: args, Env: c.env, Dir: c.dir}, name: name, log: log}, err
}

// daemon prepares one of our programs.
func (c *cluster) daemon(name, binary string) (*process, error) {
	port, err := c.freePort()
	if err != nil {
		return nil, err
	}
	url, err := c.over(name)
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	p, err := c.program(name, binary, "--http-addr", addr)
	if err != nil {
		return nil, err
	}
	p.http = addr
	p.Env = append(slices.Clone(p.Env), "NATS_URL="+url, "MILLRACE_CHAOS_BUG="+c.o.Bug)
	return p, nil
}

// daemons are our programs.
func (c *cluster) daemons() []*process {
	return append(append([]*process{c.publisher}, c.processors...), c.archivers...)
}

// all are the servers and our programs.
func (c *cluster) all() []*process {
	var list []*process
	for _, s := range c.servers {
		list = append(list, s.process)
	}
	return append(list, c.daemons()...)
}

// start begins everything and waits until work flows.
func (c *cluster) start(ctx context.Context) (*pipeline.Conn, error) {
	for _, s := range c.servers {
		if err := s.start(""); err != nil {
			return nil, err
		}
	}
	if c.store != nil {
		if err := c.store.start(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.apply(ctx); err != nil {
		return conn, err
	}
	for _, p := range c.daemons() {
		if err := p.start(""); err != nil {
			return conn, err
		}
	}
	return conn, c.ready(ctx)
}

// connect waits for the servers.
func (c *cluster) connect(ctx context.Context) (conn *pipeline.Conn, err error) {
	err = until(ctx, startLimit, "the servers answer", func() error {
		conn, err = pipeline.Connect(ctx, pipeline.Config{URL: c.url(), Name: "chaos"})
		return err
	})
	return conn, err
}

// once runs the operator's command to its end.
func (c *cluster) once(ctx context.Context, args ...string) error {
	p, err := c.program("millrace", "millrace", args...)
	if err != nil {
		return err
	}
	defer p.log.Close()
	if err := p.start(""); err != nil {
		return err
	}
	select {
	case <-p.present().Ended():
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.kill())
	}
	if err := p.present().Err(); err != nil {
		return fmt.Errorf("millrace %s: %w; see logs/millrace.log", strings.Join(args, " "), err)
	}
	return nil
}

// apply makes the broker as the configuration says, however often it takes while
// the broker is away.
func (c *cluster) apply(ctx context.Context) error {
	return until(ctx, startLimit, "the configuration is applied", func() error { return c.once(ctx, "apply") })
}

// binaryOf is which program a process runs.
func binaryOf(p *process) string { return filepath.Base(p.Path) }

// ready waits until work flows in every daemon.
func (c *cluster) ready(ctx context.Context) error {
	for _, p := range c.daemons() {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends everything, in whatever state it is.
func (c *cluster) close() error {
	var faults []error
	for _, p := range c.all() {
		if p != nil {
			faults = append(faults, p.kill(), p.log.Close())
		}
	}
	if c.store != nil {
		faults = append(faults, c.store.close())
	}
	for _, k := range c.links {
		k.close()
	}
	if c.network != nil {
		faults = append(faults, c.network.close())
	}
	return errors.Join(append(faults, c.disks.close())...)
}

// Ports that servers get lie below those that the kernel gives to connections (from
// 32768 on), so that a port stays that of its program while the program is down.
const firstPort, lastPort = 12000, 32000

// freePort is a port of loopback that nobody in this run has, or listened on a
// moment ago.
func (c *cluster) freePort() (string, error) {
	var err error
	for range 100 {
		port := strconv.Itoa(firstPort + rand.Intn(lastPort-firstPort))
		if c.ports[port] {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			c.ports[port] = true
			return port, l.Close()
		}
	}
	return "", fmt.Errorf("no port is free: %w", err)
}
