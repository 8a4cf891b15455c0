//go:build !chaos

package chaos

// Die does nothing.
func Die(string, string) {}

// Bug is false.
func Bug(string) bool { return false }
