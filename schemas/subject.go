package schemas

import (
	"fmt"
	"strconv"
	"strings"
)

// TokenBytes bounds one token of a subject.
const TokenBytes = 63

// Token writes a name as one token of a subject: letters, digits, _ and - stay,
// every other byte becomes %XX. It refuses an empty name and one whose token
// were longer than TokenBytes.
func Token(name string) (string, error) {
	n := tokenLen(name)
	if n == 0 || n > TokenBytes {
		return "", fmt.Errorf("name %q: %w", cut(name, 40), tokenFault(n))
	}
	if n == len(name) {
		return name, nil
	}
	b := make([]byte, 0, n)
	for i := range len(name) {
		b = appendEscaped(b, name[i], isWord(name[i]))
	}
	return string(b), nil
}

// Untoken is the inverse of Token. It refuses what Token does not write, so that
// a name has one token and a token one name.
func Untoken(token string) (string, error) {
	name, ok := unescape(token, isWord)
	if again, err := Token(name); !ok || err != nil || again != token {
		return "", fmt.Errorf("token %q: want 1 to %d letters, digits, _, - and %%XX for other bytes", cut(token, 40), TokenBytes)
	}
	return name, nil
}

// tokenLen is the length of Token(name).
func tokenLen(name string) int {
	n := len(name)
	for i := range len(name) {
		if !isWord(name[i]) {
			n += 2
		}
	}
	return n
}

// tokenFault says what is wrong with a name whose token has n bytes.
func tokenFault(n int) *DecodeError {
	if n == 0 {
		return &DecodeError{Reason: "missing", Mend: "give it a name"}
	}
	return &DecodeError{
		Reason: "takes " + strconv.Itoa(n) + " bytes in a subject, at most " + strconv.Itoa(TokenBytes),
		Mend:   "shorten it; every byte but letters, digits, _ and - takes three",
	}
}

const hexDigits = "0123456789ABCDEF"

// appendEscaped appends a byte as it is, or as %XX.
func appendEscaped(dst []byte, c byte, plain bool) []byte {
	if plain {
		return append(dst, c)
	}
	return append(dst, '%', hexDigits[c>>4], hexDigits[c&15])
}

// unescape is the inverse of appendEscaped. It refuses bytes that are not plain,
// but not needless escapes: who wants one form only writes it again and compares.
func unescape(s string, plain func(byte) bool) (string, bool) {
	var b []byte // nil while nothing was escaped
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			if b == nil {
				b = append(make([]byte, 0, len(s)), s[:i]...)
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
			continue
		}
		if !plain(c) {
			return "", false
		}
		if b != nil {
			b = append(b, c)
		}
	}
	if b == nil {
		return s, true
	}
	return string(b), true
}

// FrameSubject is the subject of a lane: events.<p>.<kind>.<service>.<lane>, or
// audit.<service>.<lane>. The service is any name, the lane a token.
func FrameSubject(p Partition, kind Kind, service, lane string) (string, error) {
	if kind.Class() != p.Class() || p < Audit || p >= MaxPartitions {
		return "", fmt.Errorf("frame subject: partition %s takes no %q events", p, cut(string(kind), 20))
	}
	s, err := Token(service)
	if err != nil {
		return "", fmt.Errorf("frame subject: service: %w", err)
	}
	if l, err := Token(lane); err != nil || l != lane {
		return "", fmt.Errorf("frame subject: lane %q: want 1 to %d letters, digits, _ and -", cut(lane, 40), TokenBytes)
	}
	if p == Audit {
		return "audit." + s + "." + lane, nil
	}
	return "events." + p.String() + "." + string(kind) + "." + s + "." + lane, nil
}

// Subject is what the subject of a message in a partition's stream says.
type Subject struct {
	Partition Partition
	Kind      Kind   // "" for a tick
	Service   string // as the service calls itself
	Lane      string
	Tick      bool // a tick frame: no events
	Ingest    bool // sent by a foreign client: no lane, no counter
}

// ParseSubject reads the subjects of partitions: those of FrameSubject,
// events.<p>.tick, audit.tick, and ingest.<kind>.<service>, which is partition 0
// or Audit.
func ParseSubject(subject string) (Subject, error) {
	s, err := parseSubject(strings.Split(subject, "."))
	if err != nil {
		return Subject{}, fmt.Errorf("subject %q: %w", cut(subject, 120), err)
	}
	return s, nil
}

func parseSubject(t []string) (s Subject, err error) {
	switch {
	case t[0] == "events" && (len(t) == 3 && t[2] == "tick" || len(t) == 5):
		s.Partition, err = ParsePartition(t[1])
		if err == nil && s.Partition == Audit {
			err = fmt.Errorf("partition audit has subjects of its own")
		}
		if s.Tick = len(t) == 3; !s.Tick {
			s.Kind, s.Service, s.Lane = Kind(t[2]), t[3], t[4]
		}
	case t[0] == "audit" && (len(t) == 2 && t[1] == "tick" || len(t) == 3):
		s.Partition = Audit
		if s.Tick = len(t) == 2; !s.Tick {
			s.Kind, s.Service, s.Lane = KindAudit, t[1], t[2]
		}
	case t[0] == "ingest" && len(t) == 3:
		s.Kind, s.Service, s.Ingest = Kind(t[1]), t[2], true
		if s.Kind == KindAudit {
			s.Partition = Audit
		}
	default:
		err = fmt.Errorf("want events.<p>.<kind>.<service>.<lane>, events.<p>.tick, audit.<service>.<lane>, audit.tick or ingest.<kind>.<service>")
	}
	if err != nil || s.Tick {
		return s, err
	}
	if s.Kind.Class() != s.Partition.Class() {
		return s, fmt.Errorf("partition %s takes no %q events", s.Partition, cut(string(s.Kind), 20))
	}
	if !s.Ingest {
		if lane, err := Token(s.Lane); err != nil || lane != s.Lane {
			return s, fmt.Errorf("lane %q: want 1 to %d letters, digits, _ and -", cut(s.Lane, 40), TokenBytes)
		}
	}
	s.Service, err = Untoken(s.Service)
	return s, err
}
