package file

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lineOf is the line of a field ("spec.gateways[1].address") inside an object, or
// of the innermost part of the path that is there. It is 0 when not even the
// first part is.
func lineOf(n *yaml.Node, path string) int {
	line := 0
	for path != "" && n != nil {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		name, rest := step(path)
		if i, ok := index(name); ok {
			if n.Kind != yaml.SequenceNode || i >= len(n.Content) {
				return line
			}
			n = n.Content[i]
			line = n.Line
		} else {
			key, value := pair(n, name)
			if key == nil {
				return line
			}
			n, line = value, key.Line
		}
		path = rest
	}
	return line
}

// step cuts the first part off a path: a name, or an index with its brackets.
func step(path string) (string, string) {
	if strings.HasPrefix(path, "[") {
		if i := strings.IndexByte(path, ']'); i > 0 {
			return path[:i+1], strings.TrimPrefix(path[i+1:], ".")
		}
		return path, ""
	}
	i := strings.IndexAny(path, ".[")
	if i < 0 {
		return path, ""
	}
	return path[:i], strings.TrimPrefix(path[i:], ".")
}

func index(s string) (int, bool) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(strings.TrimSuffix(inner, "]"))
	return i, err == nil && i >= 0
}

func pair(n *yaml.Node, key string) (*yaml.Node, *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
