//go:build !chaos

package main

import "errors"

// without says that this build keeps every rule.
func without(rule string) error {
	if rule == "" {
		return nil
	}
	return errors.New("the flag -without needs a build with the planted bugs: go run -tags chaos ./integration/sim -without all")
}
