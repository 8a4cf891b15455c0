// Package lint holds the house rules that no linter knows, as a test over every
// file of the repository.
//
// The invariant: what a rule refuses here stands nowhere in the tree, but for
// the exceptions that the test lists with their reasons.
package lint
