package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dermai/millrace/archive"
	"github.com/dermai/millrace/internal/broker"
	"github.com/dermai/millrace/spool"
)

// Environment of a child: this program again, which writes until its power is
// cut, and says on standard output what it was told to be durable.
const (
	childRole   = "POWERLOSS_CHILD"
	childDir    = "POWERLOSS_DIR"
	childSeed   = "POWERLOSS_SEED"
	childListen = "POWERLOSS_LISTEN"
)

// children are what a child may be.
var children = map[string]func(dir string, seed uint64) error{"store": putObjects, "spool": appendRecords, "broker": serve}

func child() error {
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err != nil {
		return err
	}
	return children[os.Getenv(childRole)](os.Getenv(childDir), seed)
}

// body is what is stored under a name, whoever stores it.
func body(seed uint64, name string) []byte {
	random := rand.New(rand.NewPCG(seed, uint64(len(name))<<32+sum(name)))
	b := make([]byte, random.IntN(100_000))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func sum(s string) (n uint64) {
	for _, c := range []byte(s) {
		n = n*31 + uint64(c)
	}
	return n
}

// putObjects puts objects, each by two that race.
func putObjects(dir string, seed uint64) error {
	store, err := archive.OpenFileStore(dir)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	fault := make(chan error, 4)
	for w := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("power/%d/%06d.bin", w/2, i)
				b := body(seed, name)
				err := store.Put(context.Background(), name, bytes.NewReader(b), int64(len(b)))
				if err != nil && !errors.Is(err, archive.ErrExists) {
					fault <- err
					return
				}
				fmt.Println(name)
			}
		})
	}
	return <-fault
}

// spoolLanes are the lanes that appendRecords writes.
const spoolLanes = 3

func spoolLane(w int) string { return fmt.Sprintf("events.0.log.power.l%d", w) }

// appendRecords appends to a spool, and marks the half of a lane as done.
func appendRecords(dir string, seed uint64) error {
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: 512 << 20})
	if err != nil {
		return err
	}
	fault := make(chan error, spoolLanes)
	for w := range spoolLanes {
		go func() {
			for batch := uint64(1); ; batch++ {
				name := fmt.Sprintf("%s#%d", spoolLane(w), batch)
				if err := s.Append(spool.Record{Lane: spoolLane(w), Batch: batch, Events: 1, Time: 1, Data: body(seed, name)}); err != nil {
					fault <- err
					return
				}
				fmt.Println(name)
				if w == 0 && batch%2 == 0 {
					s.Done(spoolLane(w), batch/2)
				}
			}
		}()
	}
	return <-fault
}

// serve is a broker.
func serve(dir string, _ uint64) error {
	s, err := broker.Start(broker.Config{Dir: dir, Listen: os.Getenv(childListen)})
	if err != nil {
		return err
	}
	fmt.Println(s.URL())
	select {}
}

// process is a running child.
type process struct {
	cmd    *exec.Cmd
	lines  chan string // what it says, closed at its end
	stderr bytes.Buffer
}

func start(role, dir string, seed uint64, listen string) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(exe), lines: make(chan string, 1<<20)}
	p.cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir, childListen+"="+listen,
		childSeed+"="+strconv.FormatUint(seed, 10))
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		read := bufio.NewReader(out)
		for {
			line, err := read.ReadString('\n')
			if err != nil {
				if !errors.Is(err, io.EOF) {
					p.lines <- "error: " + err.Error()
				}
				return
			}
			p.lines <- strings.TrimSpace(line)
		}
	}()
	return p, nil
}

// stop keeps the child from doing anything more.
func (p *process) stop() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// kill ends it, and returns what it had said that was not received yet.
func (p *process) kill() (said []string) {
	_ = p.cmd.Process.Kill()
	for line := range p.lines {
		said = append(said, line)
	}
	_ = p.cmd.Wait()
	return said
}
