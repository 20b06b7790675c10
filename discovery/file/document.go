package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The bounds of one file.
const (
	maxFile    = 4 << 20  // bytes
	maxObjects = 10_000   // with those of lists
	maxWritten = 16 << 20 // bytes of all objects with their YAML aliases written out
	maxKeys    = 1000     // of one mapping: the library compares each with each
	maxFaults  = 100      // that are told of one file
)

// document is one object as it stands in a file.
type document struct {
	node       *yaml.Node // for finding lines
	line       int        // of its beginning
	apiVersion string
	kind       string
	json       []byte
}

// fault is something that keeps a document, or a whole file, from being read.
type fault struct {
	line    int
	reason  string
	message string
}

func (f *fault) Error() string { return f.message }

// split reads the documents of a file; Lists are opened. Faults are those of
// single documents; the error, a *fault too, is for a file that is no YAML, of
// which nothing is taken.
func split(data []byte) ([]document, []*fault, error) {
	if line := notUTF8(data); line > 0 {
		return nil, nil, &fault{line, "InvalidYAML", "the file is no YAML: not UTF-8; save it as UTF-8, until then what it said before holds"}
	}
	s := &splitter{budget: maxWritten}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := dec.Decode(&node)
		switch {
		case errors.Is(err, io.EOF):
			return s.docs, s.faults, nil
		case err != nil:
			line, text := yamlError(err)
			return nil, nil, &fault{line, "InvalidYAML", fmt.Sprintf("the file is no YAML: %s; mend it, until then what it said before holds", text)}
		}
		if err := s.document(&node); err != nil {
			return nil, nil, err
		}
	}
}

type splitter struct {
	docs   []document
	faults []*fault
	budget int
}

// fail notes a fault of one document. Who made this many is served by the first.
func (s *splitter) fail(f *fault) {
	if len(s.faults) <= maxFaults {
		s.faults = append(s.faults, f)
	}
}

// document takes one YAML document. Its error is a bound of the whole file.
func (s *splitter) document(node *yaml.Node) error {
	if node.Kind != yaml.DocumentNode || len(node.Content) == 0 {
		return nil
	}
	root := node.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil // nothing but comments
	}
	return s.object(root, "", "", true)
}

// object takes one object, or opens a list of them. An item of a typed list that
// names no kind is of the list's.
func (s *splitter) object(node *yaml.Node, apiVersion, kind string, mayBeList bool) error {
	line := node.Line
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		s.fail(&fault{line, "NotAnObject", "is no Kubernetes object; write apiVersion, kind, metadata and spec"})
		return nil
	}
	if v := child(node, "apiVersion"); v != nil && v.Kind == yaml.ScalarNode {
		apiVersion = v.Value
	}
	if v := child(node, "kind"); v != nil && v.Kind == yaml.ScalarNode {
		kind = v.Value
	}
	if items := child(node, "items"); mayBeList && items != nil && strings.HasSuffix(kind, "List") {
		return s.list(items, apiVersion, kind)
	}
	if len(s.docs) == maxObjects {
		return &fault{line, "TooMany", fmt.Sprintf("the file has more than %d objects; divide it, until then what it said before holds", maxObjects)}
	}
	written, err := s.json(node)
	if f := (*fault)(nil); errors.As(err, &f) {
		if f.reason == "TooLarge" {
			return f
		}
		s.fail(f)
		return nil
	}
	s.docs = append(s.docs, document{node: node, line: line, apiVersion: apiVersion, kind: kind, json: written})
	return nil
}

func (s *splitter) list(items *yaml.Node, apiVersion, kind string) error {
	if items.Kind == yaml.AliasNode {
		items = items.Alias
	}
	if items.Kind != yaml.SequenceNode {
		if items.ShortTag() != "!!null" {
			s.fail(&fault{items.Line, "NotAnObject", "items is no list; write one object for each '-'"})
		}
		return nil
	}
	if kind == "List" {
		apiVersion, kind = "", ""
	}
	for _, item := range items.Content {
		if err := s.object(item, apiVersion, strings.TrimSuffix(kind, "List"), false); err != nil {
			return err
		}
	}
	return nil
}

// json writes a node as JSON, with aliases written out. What it costs is taken
// from the file's budget: a few lines of aliases can stand for gigabytes.
func (s *splitter) json(node *yaml.Node) ([]byte, error) {
	if f := keys(node); f != nil {
		return nil, f
	}
	datesAreText(node)
	var v any
	if err := node.Decode(&v); err != nil {
		line, text := yamlError(err)
		if line == 0 {
			line = node.Line
		}
		return nil, &fault{line, "InvalidYAML", fmt.Sprintf("is no proper object: %s; mend it", text)}
	}
	v, err := s.jsonable(v)
	if err != nil {
		reason := "InvalidYAML"
		if errors.Is(err, errBudget) {
			reason = "TooLarge"
		}
		return nil, &fault{node.Line, reason, err.Error()}
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, &fault{node.Line, "InvalidYAML", fmt.Sprintf("cannot be written as JSON: %v; mend it", err)}
	}
	return out, nil
}

var errBudget = fmt.Errorf("the file's objects are larger than %d MiB together; divide it, until then what it said before holds", maxWritten>>20)

// jsonable copies a decoded value with what JSON does not have replaced: keys
// become strings. Infinity and NaN are faults.
func (s *splitter) jsonable(v any) (any, error) {
	s.budget -= 2
	if s.budget < 0 {
		return nil, errBudget
	}
	switch v := v.(type) {
	case string:
		s.budget -= len(v)
		if s.budget < 0 {
			return nil, errBudget
		}
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("has the number %v, which nothing here can be; write a finite one", v)
		}
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			e, err := s.jsonable(e)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if err := s.entry(out, k, e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			switch k.(type) {
			case string, int, int64, uint64, bool:
			default:
				return nil, fmt.Errorf("has a key that is neither text nor a number; write it in quotes")
			}
			if err := s.entry(out, fmt.Sprint(k), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func (s *splitter) entry(out map[string]any, k string, e any) error {
	if _, twice := out[k]; twice {
		return fmt.Errorf("has the key %.64q twice; remove one", k)
	}
	s.budget -= len(k)
	e, err := s.jsonable(e)
	if err != nil {
		return err
	}
	out[k] = e
	return nil
}

// keys looks for what the library would find only after comparing each key with
// each other one: keys that stand twice, and mappings too large for that.
func keys(n *yaml.Node) *fault {
	if n.Kind == yaml.MappingNode {
		type key struct {
			kind  yaml.Kind
			value string
		}
		seen := make(map[key]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := key{n.Content[i].Kind, n.Content[i].Value}
			if seen[k] {
				return &fault{n.Content[i].Line, "InvalidYAML", fmt.Sprintf("has the key %.64q twice; remove one", printable(k.value))}
			}
			if seen[k] = true; len(seen) > maxKeys {
				return &fault{n.Line, "TooMany", fmt.Sprintf("has a mapping of more than %d keys; no object read here needs so many", maxKeys)}
			}
		}
	}
	for _, c := range n.Content {
		if f := keys(c); f != nil {
			return f
		}
	}
	return nil
}

// notUTF8 is the line of the first byte that is no UTF-8; 0 when all is well, or
// when the file says by its first bytes that it is UTF-16, which YAML allows.
func notUTF8(data []byte) int {
	if bytes.HasPrefix(data, []byte{0xfe, 0xff}) || bytes.HasPrefix(data, []byte{0xff, 0xfe}) {
		return 0
	}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return 1 + bytes.Count(data[:i], []byte{'\n'})
		}
		i += n
	}
	return 0
}

// datesAreText keeps what looks like a date as it was written: JSON has no dates,
// and Kubernetes reads its own.
func datesAreText(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		datesAreText(c)
	}
}

// yamlError takes the library's error apart: "yaml: line 3: did not find ...".
func yamlError(err error) (int, string) {
	text := err.Error()
	if te := (*yaml.TypeError)(nil); errors.As(err, &te) && len(te.Errors) > 0 {
		text = te.Errors[0]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return line, printable(message)
			}
		}
	}
	return 0, printable(text)
}

// printable is a message of a library, which may quote the file, in one short line.
func printable(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// child is the value of a mapping's key; nil when there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
