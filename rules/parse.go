package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/dermai/millrace/internal/suggest"
	"github.com/dermai/millrace/schemas"
)

// Set is a rule set as its files give it: every rule has a name of its own.
// It is immutable.
type Set struct {
	Rules []*Rule // in the order of the files

	files []schemas.RuleFile
}

// Source gives back the files, so that the set can be stored in the control
// log and parsed again by every process.
func (s *Set) Source() schemas.RuleSource {
	return schemas.RuleSource{Files: s.files}
}

// Limits of a rule set.
const (
	maxFile = 256 << 10 // bytes
	// maxFootprint bounds what one event could add to a commit through all rules
	// of its class, so that any event fits one message of a server's default
	// size, 1 MiB.
	maxFootprint = 768 << 10
)

// Parse reads rule files. An error joins every *Fault of every file; no rule is
// used unless all are right.
func Parse(files ...schemas.RuleFile) (*Set, error) {
	set := &Set{files: files}
	var errs []error
	seen := map[string]*Rule{}
	footprint := map[schemas.Class]int{}
	for _, file := range files {
		r := reader{file: file.Name}
		for _, rule := range r.read(file.Text) {
			if first := seen[rule.Name]; first != nil {
				r.faults = append(r.faults, &Fault{file.Name, rule.Line, rule.column, rule.Name, "alert",
					fmt.Sprintf("the name is taken by the rule at %s:%d: names are unique, choose another", first.File, first.Line)})
			}
			seen[rule.Name] = rule
			footprint[rule.Class] += rule.footprint()
			set.Rules = append(set.Rules, rule)
		}
		errs = append(errs, r.faults.err())
	}
	for _, class := range schemas.Classes {
		if n := footprint[class]; n > maxFootprint {
			errs = append(errs, fmt.Errorf("one %s event could add %d KiB to a commit through these rules, at most %d are allowed: use fewer rules, fewer labels in by, or fewer fields in evidence", class, n>>10, maxFootprint>>10))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return set, nil
}

// reader walks the YAML of one file and collects what is wrong with it.
type reader struct {
	file   string
	alert  string // the rule being read
	faults faults
}

// fault notes a mistake in a field at a place.
func (r *reader) fault(at *token.Token, field, format string, args ...any) {
	f := &Fault{File: r.file, Line: 1, Column: 1, Alert: r.alert, Field: field, Text: fmt.Sprintf(format, args...)}
	if at != nil && at.Position != nil {
		f.Line, f.Column = at.Position.Line, at.Position.Column
	}
	r.faults = append(r.faults, f)
}

func (r *reader) read(src string) []*Rule {
	body := r.parse(src)
	if body == nil {
		return nil
	}
	var rules []*Rule
	for _, e := range r.mapping(body, "", "groups") {
		if e.key != "groups" {
			continue
		}
		for _, g := range r.list(e) {
			rules = append(rules, r.group(g)...)
		}
	}
	return rules
}

func (r *reader) group(n ast.Node) []*Rule {
	var name string
	var rules []*Rule
	entries := r.mapping(n, "groups", "name", "rules")
	for _, e := range entries {
		if e.key == "name" {
			name, _ = r.text(e)
		}
	}
	if name == "" && entries != nil {
		r.fault(n.GetToken(), "groups", "the group has no name: add name: and what the rules are about")
	}
	for _, e := range entries {
		if e.key != "rules" {
			continue
		}
		for _, n := range r.list(e) {
			if rule := r.rule(n); rule != nil {
				rule.Group = name
				rules = append(rules, rule)
			}
		}
	}
	return rules
}

// parse gives the one document of a file, or nil after noting why there is
// none.
func (r *reader) parse(src string) (body ast.Node) {
	if len(src) > maxFile {
		r.fault(nil, "", "the file has %d KiB, at most %d are allowed: split it", len(src)>>10, maxFile>>10)
		return nil
	}
	// As in compile: a bug of the parser must stop nothing.
	defer func() {
		if p := recover(); p != nil {
			r.fault(nil, "", "is not YAML: %v", p)
			body = nil
		}
	}()
	tokens := lexer.Tokenize(src)
	if tk := tooDeep(tokens); tk != nil {
		r.fault(tk, "", "lists and mappings are nested too deep: a rule needs no more than 5 levels")
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		r.syntax(err)
		return nil
	}
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType:
		case body != nil:
			r.fault(doc.Body.GetToken(), "", "a file holds one document: remove the --- or make two files")
		default:
			body = doc.Body
		}
	}
	if body == nil && len(r.faults) == 0 {
		r.fault(nil, "", "the file holds no rules: begin with groups:")
	}
	return body
}

// tooDeep finds brackets or dashes that nest deeper than any rule, before the
// parser recurses into them.
func tooDeep(tokens token.Tokens) *token.Token {
	depth, dashes, line := 0, 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			if tk.Position.Line != line {
				dashes, line = 0, tk.Position.Line
			}
			dashes++
		}
		if depth > maxNesting || dashes > maxNesting {
			return tk
		}
	}
	return nil
}

// syntax notes an error of the YAML parser, with the mend for the commonest.
func (r *reader) syntax(err error) {
	var at yaml.Error
	if !errors.As(err, &at) {
		r.fault(nil, "", "is not YAML: %v", err)
		return
	}
	msg := at.GetMessage()
	switch {
	case strings.HasPrefix(msg, "invalid header option"):
		msg = `a value that begins with > or | must be quoted: fire: "> 5%"`
	case strings.HasPrefix(msg, "found character '\t'"):
		msg = "a tab can't indent: use spaces"
	case strings.Contains(msg, "reserved character"), strings.Contains(msg, "cannot start any token"),
		strings.HasPrefix(msg, "mapping value is not allowed"):
		msg += ": quote the value"
	case strings.HasSuffix(msg, "not found"), strings.HasPrefix(msg, "could not find end"):
		msg += ": close what was opened"
	case strings.HasPrefix(msg, "value is not allowed in this context"), strings.HasPrefix(msg, "unexpected key name"):
		msg += ": look at the indentation"
	case strings.HasPrefix(msg, "mapping key"):
		msg += ": remove one"
	}
	r.fault(at.GetToken(), "", "%s", msg)
}

// entry is one key of a mapping with its value.
type entry struct {
	key  string
	at   *token.Token // of the key
	node ast.Node
}

// mapping lists the entries of a mapping and refuses keys that it does not
// know; with no keys given, any are known.
func (r *reader) mapping(n ast.Node, field string, known ...string) []entry {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case nil:
		return nil
	default:
		r.fault(n.GetToken(), field, "want a mapping%s, not %s", example(known), describeNode(n))
		return nil
	}
	entries := make([]entry, 0, len(pairs))
	for _, p := range pairs {
		key, ok := scalar(p.Key)
		switch {
		case !ok:
			r.fault(p.Key.GetToken(), field, "a key must be a plain word, not %s", describeNode(p.Key))
			continue
		case len(known) > 0 && !slices.Contains(known, key):
			r.fault(p.Key.GetToken(), field, "unknown key %q%s", key, orOneOf(key, known))
			continue
		}
		entries = append(entries, entry{key: key, at: p.Key.GetToken(), node: p.Value})
	}
	return entries
}

func example(known []string) string {
	if len(known) == 0 {
		return ""
	}
	return fmt.Sprintf(" that begins with %s:", known[0])
}

func orOneOf(key string, known []string) string {
	if mean := suggest.DidYouMean(key, known); mean != "" {
		return mean
	}
	return "; known are " + strings.Join(known, ", ")
}

// list gives the items of a list.
func (r *reader) list(e entry) []ast.Node {
	s, ok := e.node.(*ast.SequenceNode)
	if !ok {
		r.fault(e.at, e.key, "want a list, each item after a dash, not %s", describeNode(e.node))
		return nil
	}
	return s.Values
}

// text gives a value that is one piece of text; numbers and the like are taken
// as they are written.
func (r *reader) text(e entry) (string, bool) {
	s, ok := scalar(e.node)
	if !ok {
		r.fault(e.at, e.key, "want text, not %s", describeNode(e.node))
	}
	return s, ok
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func describeNode(n ast.Node) string {
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "an anchor, alias or tag (rule files have none)"
	}
	return "text"
}
