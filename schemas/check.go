package schemas

// check moves behind any value that stands at the given depth, and finds the faults
// that value finds.
func (w *walker) check(depth int) *DecodeError {
	switch w.s[w.i] {
	case '"':
		w.text()
	case '{':
		return w.checkObject(depth + 1)
	case '[':
		return w.checkArray(depth + 1)
	case 't':
		w.word("true")
	case 'f':
		w.word("false")
	case 'n':
		w.word("null")
	default:
		_, err := w.number()
		return err
	}
	return nil
}

func (w *walker) checkObject(depth int) *DecodeError {
	if depth > maxDepth {
		return tooDeep()
	}
	var given names
	for more := w.first('}'); more; more = w.next('}') {
		name := w.name()
		if err := w.check(depth); err != nil {
			return err.in(name)
		}
		w.broken = w.broken || given.again(name)
	}
	return nil
}

func (w *walker) checkArray(depth int) *DecodeError {
	if depth > maxDepth {
		return tooDeep()
	}
	n := 0
	for more := w.first(']'); more; more = w.next(']') {
		if err := w.check(depth); err != nil {
			return err.item(n)
		}
		n++
	}
	return nil
}
