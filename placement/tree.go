package placement

import (
	"maps"
	"math"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

// Objects of members and templates are untyped: any field may hold anything. What
// is of another type than it should be reads as missing.

// at is what lies at a path of fields; nil: nothing.
func at(v any, path ...string) any {
	for _, field := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[field]
	}
	return v
}

func mapAt(v any, path ...string) map[string]any {
	m, _ := at(v, path...).(map[string]any)
	return m
}

func listAt(v any, path ...string) []any {
	l, _ := at(v, path...).([]any)
	return l
}

func textAt(v any, path ...string) string {
	s, _ := at(v, path...).(string)
	return s
}

func flagAt(v any, path ...string) bool {
	b, _ := at(v, path...).(bool)
	return b
}

// countAt reads a whole number; false when there is none.
func countAt(v any, path ...string) (int64, bool) {
	switch n := at(v, path...).(type) {
	case int64:
		return n, true
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<53 {
			return int64(n), true
		}
	}
	return 0, false
}

// textsAt reads a map of strings, leaving out what is none.
func textsAt(v any, path ...string) map[string]string {
	m := mapAt(v, path...)
	if len(m) == 0 {
		return nil
	}
	texts := make(map[string]string, len(m))
	for k, v := range m {
		if s, ok := v.(string); ok {
			texts[k] = s
		}
	}
	return texts
}

// put sets what lies at a path, making the maps on the way; false when something
// else than a map is in the way.
func put(m map[string]any, value any, path ...string) bool {
	for _, field := range path[:len(path)-1] {
		next, ok := m[field].(map[string]any)
		if !ok {
			if m[field] != nil {
				return false
			}
			next = map[string]any{}
			m[field] = next
		}
		m = next
	}
	m[path[len(path)-1]] = value
	return true
}

// drop takes away what lies at a path, and leaves the maps on the way.
func drop(m map[string]any, path ...string) {
	if above := mapAt(m, path[:len(path)-1]...); above != nil {
		delete(above, path[len(path)-1])
	}
}

// mixed is the path of root with more fields, in memory of its own.
func mixed(root []string, fields ...string) []string {
	return append(append(make([]string, 0, len(root)+len(fields)), root...), fields...)
}

// dotted is a path as people write it.
func dotted(path []string) string { return strings.Join(path, ".") }

// quantity reads a resource quantity: a string or a number.
func quantity(v any) (resource.Quantity, bool) {
	switch v := v.(type) {
	case int64:
		return *resource.NewQuantity(v, resource.DecimalSI), true
	case float64:
		if math.Abs(v) < 1<<53 {
			return *resource.NewMilliQuantity(int64(math.Ceil(v*1000)), resource.DecimalSI), true
		}
	case string:
		if !briefNumber(v) {
			return resource.Quantity{}, false
		}
		q, err := resource.ParseQuantity(v)
		return q, err == nil
	}
	return resource.Quantity{}, false
}

// briefNumber refuses what keeps the parser of quantities busy for minutes: a few
// letters ("1e-999999999") can stand for a number of a billion digits.
func briefNumber(s string) bool {
	if len(s) == 0 || len(s) > 40 {
		return false
	}
	e := strings.IndexAny(s, "eE")
	return e < 0 || len(strings.TrimLeft(s[e+1:], "+-")) <= 2
}

// The largest amount of anything. Sums and products stop there.
const most = math.MaxInt64

// plus adds what may not be negative and stops at most.
func plus(a, b int64) int64 {
	if a > most-b {
		return most
	}
	return a + b
}

// thousandths is a quantity times 1000, units the quantity itself; both round up,
// begin at 0 and stop at most.
func thousandths(q resource.Quantity) int64 {
	if q.CmpInt64(most/1000) >= 0 {
		return most
	}
	return max(0, q.MilliValue())
}

func units(q resource.Quantity) int64 {
	if q.CmpInt64(most) >= 0 {
		return most
	}
	return max(0, q.Value())
}

// copyOf is a deep copy of what a decoder of JSON or YAML made.
func copyOf[T any](v T) T { return runtime.DeepCopyJSONValue(any(v)).(T) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
