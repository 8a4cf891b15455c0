package schemas

import "strings"

// secrecy is what a name says of its value.
type secrecy int

const (
	notSecret    secrecy = iota
	secretText           // a secret unless it is a number: max_tokens, password_length
	secretAlways         // a secret, also as a number: password, cvv
)

// SecretName tells whether the value of an attribute of that name is taken for a
// secret, whatever the case and whether its words are joined by _, -, . or by
// capitals. It is one if any of its words is password, passwd, passphrase, pwd,
// secret, credential, authorization, cookie, jwt, apikey, privatekey, secretkey,
// accesskey, cardnumber, creditcard, cvv, cvc or ssn; if two are api key, private
// key, secret key, access key, signing key, encryption key, master key, session
// id, card number or credit card; if the last one ends in token, or in one of
// these words; if the last one is pass; if the whole is auth. So token_count,
// tokens_used and token_type are none.
func SecretName(name string) bool { return secretName(name) != notSecret }

// nameBytes bounds the names that are looked at; a longer one is a text.
const nameBytes = 256

func secretName(name string) secrecy {
	if len(name) < 3 || len(name) > nameBytes {
		return notSecret
	}
	var buf [2 * nameBytes]byte
	words := string(appendWords(buf[:0], name))
	if words == "auth" || words == "basic auth" {
		return secretText
	}
	found := notSecret
	var word, before string
	for rest, more := words, true; more; before = word {
		word, rest, more = strings.Cut(rest, " ")
		word = strings.TrimRight(word, "0123456789")
		if isSecretWord(word) || isSecretPair(before, word) {
			found = secretText
			if !more {
				found = secretAlways
			}
		}
	}
	switch {
	case found != notSecret:
		return found
	case endsSecret(word):
		return secretAlways
	case word == "pass", strings.HasSuffix(word, "token"), strings.HasSuffix(word, "tokens"):
		return secretText
	}
	return notSecret
}

func isSecretWord(w string) bool {
	switch w {
	case "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials",
		"authorization", "cookie", "cookies", "jwt", "apikey", "apikeys", "privatekey", "secretkey", "accesskey",
		"cvv", "cvc", "ssn", "cardnumber", "creditcard":
		return true
	}
	return false
}

func isSecretPair(first, second string) bool {
	switch second {
	case "key", "keys":
		switch first {
		case "api", "private", "secret", "access", "signing", "encryption", "master":
			return true
		}
	case "id":
		return first == "session"
	case "number":
		return first == "card"
	case "card":
		return first == "credit"
	}
	return false
}

// endsSecret knows words that were run together: dbpassword, csrftoken.
func endsSecret(w string) bool {
	for _, end := range [...]string{
		"password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey", "cookie",
		"credentials", "authorization", "sessionid",
	} {
		if strings.HasSuffix(w, end) {
			return true
		}
	}
	return false
}

// appendWords writes a name in lower case with blanks between its words.
func appendWords(dst []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case isCapital(c):
			// A capital begins a word behind a small letter, and before one: apiKey,
			// APIKey.
			if i > 0 && (isSmall(name[i-1]) || i+1 < len(name) && isSmall(name[i+1])) {
				dst = appendBreak(dst)
			}
			dst = append(dst, c+'a'-'A')
		case isSmall(c), isDigit(c), c >= 0x80:
			dst = append(dst, c)
		default:
			dst = appendBreak(dst)
		}
	}
	if n := len(dst); n > 0 && dst[n-1] == ' ' {
		dst = dst[:n-1]
	}
	return dst
}

func appendBreak(dst []byte) []byte {
	if n := len(dst); n > 0 && dst[n-1] != ' ' {
		return append(dst, ' ')
	}
	return dst
}

func isSmall(c byte) bool   { return c >= 'a' && c <= 'z' }
func isCapital(c byte) bool { return c >= 'A' && c <= 'Z' }
