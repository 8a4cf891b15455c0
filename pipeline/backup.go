package pipeline

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/dermai/millrace/fence"
)

// A stream's backup, as nats-server 2.15 restores it (server/stream_backup.go and
// server/archive in its source): within an s2 stream a magic, the entry state.json,
// an entry a message, and an empty one at the end. Entries have sequences and times
// of their own; what lies between them is skipped.
const backupMagic = "NATSARC1"

// backupChunk is how much is sent at once. It is small and not compressed, because
// the server gives up a restore of which it takes in nothing for 5 s, and may sync
// each message.
const backupChunk = 16 << 10

// backupState is what of a stream's state the server needs beforehand.
type backupState struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	First    uint64 `json:"first_seq"`
	Last     uint64 `json:"last_seq"`
}

// StoredBytes is about what a message takes in a stream's file: the server counts
// its subject, headers and data, and 34 bytes for itself.
func StoredBytes(e *fence.Entry) int64 {
	return int64(34 + len(e.Subject) + len(headerBytes(e.Header)) + len(e.Data))
}

// backupWriter writes a backup in chunks.
type backupWriter struct {
	send func(chunk []byte) error
	buf  []byte
	enc  *s2.Writer
}

func newBackupWriter(send func([]byte) error) *backupWriter {
	w := &backupWriter{send: send}
	w.enc = s2.NewWriter(w, s2.WriterUncompressed(), s2.WriterBlockSize(backupChunk), s2.WriterConcurrency(1))
	return w
}

// Write takes what is compressed.
func (w *backupWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), backupChunk-len(w.buf))
		w.buf, rest = append(w.buf, rest[:n]...), rest[n:]
		if len(w.buf) == backupChunk {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (w *backupWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.send(w.buf)
	w.buf = w.buf[:0]
	return err
}

// write writes the whole backup.
func (w *backupWriter) write(r Restoration, state backupState) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w.enc, backupMagic); err != nil {
		return err
	}
	if err := w.entry("state.json", 0, 0, nil, text); err != nil {
		return err
	}
	sent := uint64(0)
	for e, err := range r.Entries {
		if err != nil {
			return err
		}
		if err := w.entry(e.Subject, e.Time, e.Seq, headerBytes(e.Header), e.Data); err != nil {
			return err
		}
		if sent++; r.Progress != nil {
			r.Progress(sent)
		}
	}
	if sent != r.Messages {
		return fmt.Errorf("the archive gave %d messages, and %d before: run it again", sent, r.Messages)
	}
	if err := w.entry("", 0, 0, nil, nil); err != nil {
		return err
	}
	if err := w.enc.Close(); err != nil {
		return err
	}
	return w.flush()
}

// entry writes one entry.
func (w *backupWriter) entry(name string, time int64, seq uint64, header, data []byte) error {
	b := binary.AppendUvarint(nil, uint64(len(name)))
	b = binary.AppendVarint(b, time)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, uint64(len(header)))
	b = binary.AppendUvarint(b, uint64(len(data)))
	b = append(append(b, name...), header...)
	for _, part := range [][]byte{b, data} {
		if _, err := w.enc.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// headerBytes are headers as the server stores them.
func headerBytes(h fence.Header) []byte {
	if len(h) == 0 {
		return nil
	}
	b := []byte("NATS/1.0\r\n")
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b = append(append(append(append(b, name...), ": "...), h[name]...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}
