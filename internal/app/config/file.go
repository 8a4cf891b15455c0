package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/dermai/millrace/internal/suggest"
)

// file decodes one configuration file and collects its faults. It walks the
// syntax tree by itself, so that every value has a place and every fault is
// found at once.
type file struct {
	loaded *Loaded
	faults []error
}

// decodeFile sets in l what the file says.
func decodeFile(l *Loaded, text []byte) []error {
	f := &file{loaded: l}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		if syntax, ok := errors.AsType[yaml.Error](err); ok {
			f.faultf(syntax.GetToken(), "", "%s", syntax.GetMessage())
			return f.faults
		}
		return []error{&Fault{l.File, "", err.Error()}}
	}
	if len(tree.Docs) > 1 {
		f.faultf(tree.Docs[1].GetToken(), "", "a second document: put everything into one")
	}
	if len(tree.Docs) > 0 && tree.Docs[0].Body != nil {
		f.decode(tree.Docs[0].Body, reflect.ValueOf(&l.Config).Elem(), "")
	}
	return f.faults
}

func (f *file) place(t *token.Token) string {
	if t == nil {
		return f.loaded.File
	}
	return fmt.Sprintf("%s:%d:%d", f.loaded.File, t.Position.Line, t.Position.Column)
}

func (f *file) faultf(t *token.Token, path, format string, args ...any) {
	f.faults = append(f.faults, &Fault{f.place(t), path, fmt.Sprintf(format, args...)})
}

// decode sets v to what stands at n. A key without a value leaves the default.
func (f *file) decode(n ast.Node, v reflect.Value, path string) {
	switch n.Type() {
	case ast.NullType, ast.CommentGroupType:
		return
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		f.faultf(n.GetToken(), path, "anchors, aliases and tags are not known here: write the value out")
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		f.decode(n, target.Elem(), path)
		v.Set(target)
	case isLeaf(v.Type()):
		f.leaf(n, v, path)
	case v.Kind() == reflect.Slice:
		f.list(n, v, path)
	default:
		f.mapping(n, v, path)
	}
}

func (f *file) mapping(n ast.Node, v reflect.Value, path string) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		f.faultf(n.GetToken(), path, "want keys and values")
		return
	}
	known := map[string]reflect.Value{}
	var names []string
	for _, field := range fields(v) {
		known[field.name] = field.value
		names = append(names, field.name)
	}
	for _, pair := range pairs {
		key := pair.Key.GetToken()
		child := strings.TrimPrefix(path+"."+key.Value, ".")
		if target, ok := known[key.Value]; ok {
			f.decode(pair.Value, target, child)
			continue
		}
		base := strings.TrimSuffix(key.Value, "_file")
		if target, ok := known[base]; ok && isSecret(target.Type()) {
			f.secretFile(pair.Value, target, strings.TrimSuffix(child, "_file"))
			continue
		}
		f.faultf(key, child, "there is no such key%s", suggest.DidYouMean(key.Value, names))
	}
}

func (f *file) list(n ast.Node, v reflect.Value, path string) {
	items, ok := n.(*ast.SequenceNode)
	if !ok {
		f.faultf(n.GetToken(), path, "want a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(items.Values), len(items.Values))
	for i, item := range items.Values {
		f.decode(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(list)
}

func (f *file) leaf(n ast.Node, v reflect.Value, path string) {
	f.loaded.origins[path] = f.place(n.GetToken())
	if own, ok := reflect.TypeAssert[yaml.BytesUnmarshaler](v.Addr()); ok {
		b, err := n.MarshalYAML()
		if err == nil {
			err = own.UnmarshalYAML(b)
		}
		if err != nil {
			f.faultf(n.GetToken(), path, "%v", err)
		}
		return
	}
	if v.Kind() == reflect.Slice {
		f.list(n, v, path)
		return
	}
	text, ok := scalar(n)
	if !ok {
		f.faultf(n.GetToken(), path, "want one value, not a list or keys")
		return
	}
	if err := setText(v, text); err != nil {
		f.faultf(n.GetToken(), path, "%v", err)
		return
	}
	if v.Type() == reflect.TypeFor[Path]() && text != "" && !filepath.IsAbs(text) {
		v.SetString(filepath.Join(filepath.Dir(f.loaded.File), text))
	}
}

func (f *file) secretFile(n ast.Node, v reflect.Value, path string) {
	var name Path
	f.decode(n, reflect.ValueOf(&name).Elem(), path)
	if name == "" {
		return
	}
	text, err := readSecret(string(name))
	if err == nil {
		err = setText(v, text)
	}
	if err != nil {
		f.faultf(n.GetToken(), path, "%v", err)
	}
}

// scalar is the text of a node that is one value, as it was written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
