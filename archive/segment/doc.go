// Package segment writes and reads L1 objects: Parquet files with a row for each
// event of some messages of a stream, in order of sequence.
//
// The invariant: the rows of a message give back its sequence, times, subject,
// headers and what its payload decodes to, byte for byte. A file's digest is a
// hash of exactly that, so that messages can be compared with their rows,
// whatever packed them.
//
//	w := segment.NewWriter(file, chain)
//	err := w.Write(record)
//	summary, err := w.Close()
//	summary, err = segment.Read(file, size, chain, func(r *archive.Record) error { ... })
package segment
