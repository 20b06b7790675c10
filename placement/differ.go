package placement

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Change is one field that an apply would change. Its values may be secret: what is
// logged is the path.
type Change struct {
	Path     string // "spec.template.spec.containers[web].image"
	From, To any    // as in the cluster, nil when it is missing there; as desired
}

// maxChanges are enough to say what differs; no more are looked for.
const maxChanges = 100

// Differs says what a server-side apply of desired would change in the object that a
// cluster has, in the fields that desired sets: nothing when it would change nothing, so
// that a steady state writes nothing. Both are to be of one API version. Fields that
// desired does not set are never a difference: they are defaults or somebody else's.
// Quantities are compared as amounts, Secrets and binary data as bytes, lists of what has a name by
// name, other lists item by item.
//
// What it cannot see are fields that were applied once and are not desired any more,
// and what others added inside an item of a list that is owned as a whole, for both
// look like defaults. These are what the managedFields of the live object are good for:
// the first are still listed under our Manager, and the second take the list's ownership
// from it.
func Differs(desired, live *unstructured.Unstructured) []Change {
	d := differ{builtin: Builtin(kindOf(desired).Group), secret: kindOf(desired) == kindSecret}
	want := desired
	if d.secret && desired.Object["stringData"] != nil {
		want = desired.DeepCopy()
		foldStringData(want)
	}
	for _, field := range sortedKeys(want.Object) {
		if field != "status" {
			d.field(nil, field, want.Object[field], live.Object)
		}
	}
	return d.changes
}

type differ struct {
	// builtin: API servers read such kinds into Go's types, in which the zero value of
	// a field is mostly the same as none. Objects of other kinds are kept as they are
	// written.
	builtin bool
	secret  bool
	changes []Change
}

func (d *differ) say(path []string, from, to any) {
	if len(d.changes) < maxChanges {
		var b strings.Builder
		for _, p := range path {
			if b.Len() > 0 && !strings.HasPrefix(p, "[") {
				b.WriteByte('.')
			}
			b.WriteString(p)
		}
		d.changes = append(d.changes, Change{b.String(), from, to})
	}
}

// field compares one field of a map in which both sides look for it.
func (d *differ) field(above []string, field string, want any, in map[string]any) {
	if want == nil || len(d.changes) == maxChanges {
		return // null is no value
	}
	path := mixed(above, field)
	if strings.ContainsAny(field, "./[]") {
		path = mixed(above, "["+field+"]")
	}
	has, there := in[field]
	if !there || has == nil {
		if !d.nothing(above, want) {
			d.say(path, nil, want)
		}
		return
	}
	d.value(path, field, want, has)
}

// nothing reports whether a value and none are the same to an API server: zero values
// of its own types, but not of maps from names to values, and not a volume
// without properties, which still says which kind of volume it is.
func (d *differ) nothing(above []string, want any) bool {
	parent := ""
	if len(above) > 0 {
		parent = above[len(above)-1]
	}
	if len(above) > 1 && above[len(above)-2] == "volumes" {
		return false
	}
	if !d.builtin && parent != "metadata" {
		return false
	}
	switch v := want.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	case string:
		return v == "" && !textMaps[parent]
	case bool:
		return !v
	case int64:
		return v == 0 && !amounts[parent]
	case float64:
		return v == 0 && !amounts[parent]
	}
	return false
}

// textMaps are fields that map names to texts, in which an empty text is one.
var textMaps = map[string]bool{
	"annotations": true, "binaryData": true, "data": true, "labels": true, "matchLabels": true, "nodeSelector": true, "parameters": true,
	"selector": true, "volumeAttributes": true, "options": true,
}

// amounts are fields that map names to quantities, and amount fields that are one.
var (
	amounts = map[string]bool{
		"requests": true, "limits": true, "capacity": true, "hard": true, "default": true, "defaultRequest": true, "max": true, "min": true,
		"maxLimitRequestRatio": true, "overhead": true, "podFixed": true, "allocatedResources": true,
	}
	amount = map[string]bool{"sizeLimit": true, "divisor": true, "averageValue": true, "maximumVolumeSize": true}
)

func (d *differ) value(path []string, field string, want, has any) {
	switch w := want.(type) {
	case map[string]any:
		h, ok := has.(map[string]any)
		if !ok {
			d.say(path, has, want)
			return
		}
		for _, key := range sortedKeys(w) {
			d.field(path, key, w[key], h)
		}
	case []any:
		h, ok := has.([]any)
		if !ok {
			d.say(path, has, want)
			return
		}
		d.list(path, field, w, h)
	default:
		if !d.same(path, field, want, has) {
			d.say(path, has, want)
		}
	}
}

// same compares what is neither a map nor a list.
func (d *differ) same(path []string, field string, want, has any) bool {
	if want == has {
		return true
	}
	if a, ok := number(want); ok {
		if b, ok := number(has); ok {
			return a == b
		}
	}
	above := ""
	if len(path) > 1 {
		above = path[len(path)-2]
	}
	if d.builtin && (amounts[above] || amount[field] && !textMaps[above] || field == "value" && above == "target") {
		a, ok := quantity(want)
		b, okToo := quantity(has)
		return ok && okToo && a.Cmp(b) == 0
	}
	if above == "binaryData" || d.secret && above == "data" {
		return sameBytes(want, has)
	}
	return false
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// sameBytes compares base64 as API servers read it, with line ends.
func sameBytes(want, has any) bool {
	decode := func(v any) ([]byte, bool) {
		s, ok := v.(string)
		b, err := base64.StdEncoding.DecodeString(s)
		return b, ok && err == nil
	}
	a, ok := decode(want)
	b, okToo := decode(has)
	return ok && okToo && bytes.Equal(a, b)
}

// keys are the fields by which the items of a list are told apart; the first set that
// all items have counts. A field after "=" is what it is when it is not written.
var keys = map[string][]string{
	"containers": {"name"}, "initContainers": {"name"}, "ephemeralContainers": {"name"}, "env": {"name"}, "volumes": {"name"},
	"imagePullSecrets": {"name"}, "secrets": {"name"}, "schedulingGates": {"name"}, "resourceClaims": {"name"}, "webhooks": {"name"},
	"volumeMounts": {"mountPath"}, "volumeDevices": {"devicePath"}, "hostAliases": {"ip"}, "topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
	"ports": {"containerPort", "protocol=TCP"},
}

// inOrder are lists by name in which the order has a meaning: what starts first,
// which variable may name which.
var inOrder = map[string]bool{"initContainers": true, "env": true}

func keysOf(path []string, field string) []string {
	switch {
	case field == "ports" && len(path) == 2: // of a Service
		return []string{"port", "protocol=TCP"}
	case field == "imagePullSecrets" && len(path) == 1: // of a ServiceAccount: owned as a whole
	case len(path) < 2 || path[len(path)-2] != "metadata":
		return keys[field]
	}
	return nil
}

// list compares two lists: by name where items have one, and otherwise in order.
func (d *differ) list(path []string, field string, want, has []any) {
	if len(path) > 1 && path[len(path)-2] == "metadata" && field == "finalizers" {
		for _, w := range want {
			if !slices.Contains(has, w) {
				d.say(path, has, want)
				return
			}
		}
		return
	}
	if d.builtin {
		by := keysOf(path, field)
		if w, ok := index(want, by); ok {
			if h, ok := index(has, by); ok {
				d.byName(path, field, w, h)
				return
			}
		}
	}
	if len(want) != len(has) {
		d.say(path, has, want)
		return
	}
	for i := range want {
		d.value(mixed(path, fmt.Sprintf("[%d]", i)), field, want[i], has[i])
	}
}

// item is one of a list, with its name.
type item struct {
	name  string
	value any
}

// index names the items of a list; false when one has no name or two have the same.
func index(list []any, by []string) ([]item, bool) {
	if len(by) == 0 {
		return nil, false
	}
	items, seen := make([]item, len(list)), make(map[string]bool, len(list))
	for i, v := range list {
		var parts []string
		for _, field := range by {
			field, missing, _ := strings.Cut(field, "=")
			part := missing
			if v := at(v, field); v != nil {
				part = fmt.Sprint(v)
			}
			if part == "" {
				return nil, false
			}
			parts = append(parts, part)
		}
		name := strings.Join(parts, "/")
		if seen[name] {
			return nil, false
		}
		seen[name], items[i] = true, item{name, v}
	}
	return items, true
}

func (d *differ) byName(path []string, field string, want, has []item) {
	last, order := -1, true
	for _, w := range want {
		at := mixed(path, "["+w.name+"]")
		i := slices.IndexFunc(has, func(h item) bool { return h.name == w.name })
		if i < 0 {
			d.say(at, nil, w.value)
			continue
		}
		order, last = order && i > last, i
		d.value(at, field, w.value, has[i].value)
	}
	if inOrder[field] && !order {
		d.say(mixed(path, "[order]"), nil, nil)
	}
}

// foldStringData writes a Secret's stringData as data, as API servers do. The field
// exists only on the way to them, so that an applied stringData would be owned and
// never be there to compare, and a key that was taken out of it would stay.
func foldStringData(object *unstructured.Unstructured) {
	if kindOf(object) != kindSecret || object.Object["stringData"] == nil {
		return
	}
	for key, v := range mapAt(object.Object, "stringData") {
		s, ok := v.(string)
		if !ok || !put(object.Object, base64.StdEncoding.EncodeToString([]byte(s)), "data", key) {
			return // left for the API server to refuse
		}
	}
	delete(object.Object, "stringData")
}
