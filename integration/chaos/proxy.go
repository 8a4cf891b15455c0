package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// How a link treats what goes through it.
const (
	linkOpen  = "open"
	linkCut   = "cut"   // every connection is reset, and none is taken
	linkStall = "stall" // connections stand, and nothing goes either way
	linkSlow  = "slow"  // small pieces, each late
)

// A slow link passes pieces of slowPiece bytes, each after slowPause.
const (
	slowPiece = 2 << 10
	slowPause = 15 * time.Millisecond
)

// link is a way to a server, through which a fault can reach what goes over it.
type link struct {
	name   string
	target string
	listen net.Listener
	held   sync.Mutex // by the fault that is made of it

	mu    sync.Mutex
	mode  string
	moved chan struct{} // closed at the next change of mode
	conns map[net.Conn]struct{}
}

func newLink(name, target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{name: name, target: target, listen: l, mode: linkOpen, moved: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	go k.serve()
	return k, nil
}

func (k *link) addr() string { return k.listen.Addr().String() }

// set changes how the link treats what goes through it, and what is on its way.
func (k *link) set(mode string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode = mode
	close(k.moved)
	k.moved = make(chan struct{})
	if mode == linkCut {
		for c := range k.conns {
			reset(c)
		}
	}
}

// reset closes a connection with a RST.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the other side sees an ordered end
	}
	_ = c.Close()
}

func (k *link) close() {
	_ = k.listen.Close()
	k.set(linkCut)
}

// now gives the mode, and what is closed when it changes.
func (k *link) now() (string, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mode, k.moved
}

func (k *link) serve() {
	for {
		c, err := k.listen.Accept()
		if err != nil {
			return
		}
		go k.join(c)
	}
}

// join connects a client with the server.
func (k *link) join(client net.Conn) {
	if !k.keep(client) {
		return
	}
	defer k.drop(client)
	k.gate() // a stalled link accepts, and there it ends
	server, err := net.DialTimeout("tcp", k.target, 5*time.Second)
	if err != nil || !k.keep(server) {
		return
	}
	defer k.drop(server)
	var both sync.WaitGroup
	both.Go(func() { k.copy(server, client) })
	both.Go(func() { k.copy(client, server) })
	both.Wait()
}

// keep notes a connection, so that it can be cut; false: it is cut already.
func (k *link) keep(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mode == linkCut {
		reset(c)
		return false
	}
	k.conns[c] = struct{}{}
	return true
}

func (k *link) drop(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	reset(c)
}

// gate waits while the link stalls, and says whether it is slow.
func (k *link) gate() (slow bool) {
	for {
		mode, moved := k.now()
		if mode != linkStall {
			return mode == linkSlow
		}
		<-moved
	}
}

// copy moves bytes one way until either side ends.
func (k *link) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for piece := buf[:n]; len(piece) > 0; {
			size := len(piece)
			if k.gate() {
				size = min(size, slowPiece)
				pause := time.NewTimer(slowPause)
				<-pause.C
			}
			if _, err := to.Write(piece[:size]); err != nil {
				reset(from)
				return
			}
			piece = piece[size:]
		}
		if err == io.EOF {
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite()
			}
			return
		}
		if err != nil {
			reset(to)
			return
		}
	}
}
