package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
)

// bulky are the branches of objects that are large and that nobody looks at but to
// compare all of an object: one word, or two of which no other begins alike.
var bulky = [][]string{{"data"}, {"binaryData"}, {"spec", "template"}}

// pack puts an object's bulky branches away as JSON, which takes a small part of the
// memory. It is for an object that nobody else has yet.
func (l *live) pack() {
	away := map[string]any{}
	for _, path := range bulky {
		v, found, err := unstructured.NestedFieldNoCopy(l.object.Object, path...)
		if !found || err != nil {
			continue
		}
		if len(path) == 1 {
			away[path[0]] = v
		} else {
			away[path[0]] = map[string]any{path[1]: v}
		}
		unstructured.RemoveNestedField(l.object.Object, path...)
	}
	if len(away) == 0 {
		return
	}
	data, err := json.Marshal(away)
	if err != nil { // it came as JSON
		data = nil
	}
	l.away = data
}

// whole is all of an object.
func (l *live) whole() *unstructured.Unstructured {
	if len(l.away) == 0 {
		return l.object
	}
	var away map[string]any
	if err := json.Unmarshal(l.away, &away); err != nil {
		return l.object
	}
	out := maps.Clone(l.object.Object)
	for k, v := range away {
		if k != "spec" {
			out[k] = v
			continue
		}
		spec, _ := out[k].(map[string]any)
		branch, _ := v.(map[string]any)
		spec = maps.Clone(spec)
		maps.Copy(spec, branch)
		out[k] = spec
	}
	return &unstructured.Unstructured{Object: out}
}
