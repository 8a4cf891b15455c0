package segment

import (
	"fmt"
	"io"

	"github.com/dermai/millrace/archive"
)

// Read gives each message of a file to fn, in order, with what its payload
// decodes to as its payload. The record is valid during the call. An error of fn
// ends Read and is returned. The summary is of what was read, which is every column.
func Read(r io.ReaderAt, size int64, c archive.Chain, fn func(*archive.Record) error) (s Summary, err error) {
	f, err := open(r, size, c)
	if err != nil {
		return s, err
	}
	j := joiner{chain: c, sum: &s, digest: newDigest(), fn: fn}
	if err := f.scan(Select{}, everyColumn, j.row); err != nil {
		return s, err
	}
	err = j.flush()
	s.Digest = j.digest.String()
	return s, err
}

// joiner makes messages of rows.
type joiner struct {
	chain   archive.Chain
	sum     *Summary
	fn      func(*archive.Record) error
	rec     archive.Record
	header  string
	form    int
	content []byte
	begun   bool
	digest  // of nothing if its hash is nil
}

func (j *joiner) row(r *Row) error {
	j.sum.row(r)
	if !j.begun || uint64(r.Sequence) != j.rec.Seq {
		if err := j.flush(); err != nil {
			return err
		}
		if uint64(r.Sequence) <= j.rec.Seq {
			return fmt.Errorf("read segment: sequence %d comes after %d", r.Sequence, j.rec.Seq)
		}
		h, err := decodeHeader(r.Header)
		if err != nil {
			return fmt.Errorf("read segment: headers of sequence %d: %w", r.Sequence, err)
		}
		j.rec = archive.Record{Chain: j.chain, Seq: uint64(r.Sequence), Arrival: r.Arrival, Time: r.Stored, Subject: r.Subject, Header: h}
		j.header, j.form, j.content, j.begun = r.Header, int(r.Form), j.content[:0], true
	}
	j.content = append(j.content, r.Payload...)
	if r.Form == formLine {
		j.content = append(j.content, '\n')
	}
	return nil
}

// flush gives on the message that the rows so far make.
func (j *joiner) flush() error {
	if !j.begun {
		return nil
	}
	j.begun = false
	j.sum.Messages++
	form := j.form
	if form == formLast {
		form = formLine
	}
	if j.h != nil {
		j.add(&j.rec, j.header, form, j.content)
	}
	j.rec.Payload, j.rec.Unpacked = j.content, form == formLine
	return j.fn(&j.rec)
}
