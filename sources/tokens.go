package sources

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"os"
	"strings"
)

// minToken is the length below which a token is taken for a mistake, in bytes.
const minToken = 16

// Tokens are the bearer tokens that a door accepts, and which service each one
// may speak for. Only their hashes are kept. Safe for concurrent use.
type Tokens struct {
	tokens []token
}

type token struct {
	sum     [sha256.Size]byte
	service string // "": any
}

// LoadTokens reads a file with a service and a token on each line, separated by
// blanks:
//
//	# service  token
//	api        9f8c1d7e5b3a42609f8c1d7e5b3a4260
//	*          0a1b2c3d4e5f60718293a4b5c6d7e8f9
//
// A token of * may speak for every service. A service may have several tokens,
// so that they can be changed one after the other. Errors name the line and hold
// no token.
func LoadTokens(path string) (*Tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	t := &Tokens{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
			continue
		case len(fields) != 2:
			return nil, fmt.Errorf("read tokens: %s:%d: want a service and a token, found %d words", path, n, len(fields))
		case len(fields[1]) < minToken:
			return nil, fmt.Errorf("read tokens: %s:%d: token of %d bytes, want at least %d: openssl rand -hex 16 makes one", path, n, len(fields[1]), minToken)
		}
		service := fields[0]
		if service == "*" {
			service = ""
		}
		sum := sha256.Sum256([]byte(fields[1]))
		if _, known := t.service(sum); known {
			return nil, fmt.Errorf("read tokens: %s:%d: the same token stands further up", path, n)
		}
		t.tokens = append(t.tokens, token{sum, service})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read tokens: %s: %w", path, err)
	}
	if len(t.tokens) == 0 {
		return nil, fmt.Errorf("read tokens: %s holds none, and the door would refuse everybody", path)
	}
	return t, nil
}

// allow tells which service ("": any) the value of an Authorization header may
// speak for. How long it takes tells nothing about the tokens.
func (t *Tokens) allow(authorization string) (service string, ok bool) {
	scheme, secret, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	return t.service(sha256.Sum256([]byte(strings.TrimSpace(secret))))
}

func (t *Tokens) service(sum [sha256.Size]byte) (service string, ok bool) {
	for _, known := range t.tokens {
		if subtle.ConstantTimeCompare(known.sum[:], sum[:]) == 1 {
			service, ok = known.service, true
		}
	}
	return service, ok
}
