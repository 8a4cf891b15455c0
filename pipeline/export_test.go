package pipeline

// Buffered tells how many bytes of a stream a log holds in memory.
func Buffered(l *Log, stream string) int {
	r := l.readers[stream]
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}
