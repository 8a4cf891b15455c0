package pipelinetest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/dermai/millrace/fence/fencetest"
)

// Proxy stands between one client and the broker and breaks the connection on
// demand, around an append.
type Proxy struct {
	listener net.Listener
	target   string

	stands sync.RWMutex // held while nothing passes

	mu     sync.Mutex
	armed  fencetest.Fault
	paused bool
	links  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// StartProxy listens on a free loopback port until the test ends.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, links: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

// URL is where the client connects.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Arm lets the next append meet LoseAppend (the connection breaks before the
// broker has it) or LoseAnswer (it breaks when the broker has answered).
func (p *Proxy) Arm(f fencetest.Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = f
}

// Pause breaks every connection and refuses new ones until it is called with
// false: the broker is away.
func (p *Proxy) Pause(on bool) {
	p.mu.Lock()
	p.paused = on
	p.mu.Unlock()
	if on {
		p.Cut()
	}
}

// Stand lets nothing pass, on connections that stay, until it is called with false:
// so it looks when the broker's machine has lost its power.
func (p *Proxy) Stand(on bool) {
	if on {
		p.stands.Lock()
	} else {
		p.stands.Unlock()
	}
}

// pass waits while connections stand.
func (p *Proxy) pass() {
	p.stands.RLock()
	defer p.stands.RUnlock()
}

// Cut breaks every connection. Clients may connect again.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.links {
		c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		paused := p.paused
		p.links[client], p.links[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		if paused {
			client.Close()
		}
		p.wg.Go(func() { p.link(client, server) })
	}
}

// link copies both ways until one side ends.
func (p *Proxy) link(client, server net.Conn) {
	deaf := make(chan struct{}) // closed: the client hears no more
	var wg sync.WaitGroup
	shut := func() { client.Close(); server.Close() }
	wg.Go(func() {
		defer shut()
		p.toServer(client, server, deaf)
	})
	wg.Go(func() {
		defer shut()
		p.toClient(server, client, deaf)
	})
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, client)
	delete(p.links, server)
}

// toServer looks for the header of an append in what the client sends.
func (p *Proxy) toServer(client, server net.Conn, deaf chan struct{}) {
	mark := []byte("Nats-Expected-Last-Subject-Sequence")
	buf, tail := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		p.pass()
		if bytes.Contains(append(tail, buf[:n]...), mark) {
			p.mu.Lock()
			f := p.armed
			p.armed = fencetest.None
			p.mu.Unlock()
			switch f {
			case fencetest.LoseAppend:
				return
			case fencetest.LoseAnswer:
				close(deaf)
			}
		}
		tail = append([]byte(nil), buf[max(0, n-len(mark)):n]...)
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// toClient copies until the client is deaf and the broker has answered.
func (p *Proxy) toClient(server, client net.Conn, deaf chan struct{}) {
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		p.pass()
		select {
		case <-deaf:
			if bytes.Contains(buf[:n], []byte(`"seq":`)) || bytes.Contains(buf[:n], []byte(`"error":`)) {
				return
			}
		default:
			if _, err := io.Copy(client, bytes.NewReader(buf[:n])); err != nil {
				return
			}
		}
	}
}
