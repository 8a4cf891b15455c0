package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// network gives each server a network namespace of its own, joined to a bridge by
// a pair of veth, so that a server can lose its network while it lives.
type network struct {
	id    string // in the names of everything that is made
	third int    // third byte of the addresses
	nodes []string
}

// possibleNetwork tells whether namespaces can be made here.
func possibleNetwork() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("network namespaces need iproute2: %w", err)
	}
	return nil
}

func newNetwork() (*network, error) {
	n := &network{id: fmt.Sprintf("mr%d", os.Getpid()), third: os.Getpid() % 250}
	return n, n.ip(
		"link add "+n.bridge()+" type bridge",
		"addr add "+n.addr(1)+"/24 dev "+n.bridge(),
		"link set "+n.bridge()+" up",
	)
}

func (n *network) bridge() string { return n.id + "b" }

func (n *network) addr(host int) string { return fmt.Sprintf("10.213.%d.%d", n.third, host) }

// add makes the namespace of a node and returns its name and its address.
func (n *network) add(i int) (name, addr string, err error) {
	name, addr = fmt.Sprintf("%sn%d", n.id, i), n.addr(10+i)
	n.nodes = append(n.nodes, name)
	return name, addr, n.ip(
		"netns add "+name,
		"link add "+n.outer(name)+" type veth peer name eth0 netns "+name,
		"link set "+n.outer(name)+" master "+n.bridge(),
		"link set "+n.outer(name)+" up",
		"-n "+name+" addr add "+addr+"/24 dev eth0",
		"-n "+name+" link set eth0 up",
		"-n "+name+" link set lo up",
	)
}

// outer is the end of a node's pair that is on the bridge.
func (n *network) outer(node string) string { return node + "o" }

// part cuts a node off from everybody, without a word; join ends it.
func (n *network) part(node string) error { return n.ip("link set " + n.outer(node) + " down") }
func (n *network) join(node string) error { return n.ip("link set " + n.outer(node) + " up") }

// blackhole lets a node have no way to another address; the other still has one
// to it. unblackhole ends it.
func (n *network) blackhole(node, addr string) error {
	return n.ip("-n " + node + " route add blackhole " + addr)
}

func (n *network) unblackhole(node, addr string) error {
	return n.ip("-n " + node + " route del blackhole " + addr)
}

// close removes everything.
func (n *network) close() error {
	var lines []string
	for _, node := range n.nodes {
		lines = append(lines, "netns del "+node)
	}
	return n.ip(append(lines, "link del "+n.bridge())...)
}

// ip runs commands of iproute2.
func (n *network) ip(lines ...string) error {
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}
