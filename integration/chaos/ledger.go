package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Sent is what a writer knows of a batch of events: first that it was tried, then
// what became of it.
type Sent struct {
	Writer  string    `json:"writer"`
	First   int       `json:"first"` // number of the first event of the batch
	Count   int       `json:"count"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail,omitempty"`
}

// Outcomes of a batch. A tried one without another entry is unknown.
const (
	tried   = "tried"
	stored  = "stored"  // answered: it is on disk
	refused = "refused" // answered: it is not stored, and never will be
	unknown = "unknown" // no answer, or one that leaves it open
)

// Told is an attempt to deliver a notification, written before it is answered.
type Told struct {
	Receiver string    `json:"receiver"`
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Mode     string    `json:"mode"` // how the receiver behaved
	Taken    bool      `json:"taken"`
	Body     string    `json:"body"`
}

// Fired is a fault that was made.
type Fired struct {
	Fault  string    `json:"fault"`
	Target string    `json:"target"`
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"`
	Detail string    `json:"detail,omitempty"`
	Error  string    `json:"error,omitempty"` // it could not be made, or not healed
}

// Ended is a program that ended although nobody ended it, or did not end in order.
type Ended struct {
	Program string    `json:"program"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	Last    string    `json:"last"` // what it said last
	// Restarted says that it could not reach the broker when it started, and was
	// started again, as those who supervise it do.
	Restarted bool `json:"restarted,omitempty"`
}

// Used is what a program uses of the machine at a moment.
type Used struct {
	Program    string    `json:"program"`
	At         time.Time `json:"at"`
	RSS        int64     `json:"rss"` // bytes
	Files      int       `json:"files"`
	Goroutines int       `json:"goroutines,omitempty"` // 0: it did not say
}

// ledger is a file of JSON lines that is only added to. The kernel has each line
// before add returns: who keeps ledgers is never killed.
type ledger[T any] struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first
}

func newLedger[T any](path string) (*ledger[T], error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &ledger[T]{file: file}, nil
}

// add writes an entry. A ledger that cannot be written is told of by close.
func (l *ledger[T]) add(entry T) {
	line, err := json.Marshal(entry)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.file.Write(append(line, '\n'))
	}
	if l.err == nil {
		l.err = err
	}
}

func (l *ledger[T]) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil && l.err == nil {
		l.err = err
	}
	return l.err
}

// readLedger reads a ledger back. One that was never begun is empty.
func readLedger[T any](path string) ([]T, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var list []T
	dec := json.NewDecoder(bufio.NewReaderSize(file, 1<<20))
	for dec.More() {
		var entry T
		if err := dec.Decode(&entry); err != nil {
			return nil, fmt.Errorf("%s, entry %d: %w", path, len(list)+1, err)
		}
		list = append(list, entry)
	}
	return list, nil
}

// writeLedger writes a whole ledger.
func writeLedger[T any](path string, list []T) error {
	l, err := newLedger[T](path)
	if err != nil {
		return err
	}
	for _, entry := range list {
		l.add(entry)
	}
	return l.close()
}
