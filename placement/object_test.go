package placement

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// object reads YAML as a decoder of API servers would: whole numbers are int64.
func object(t testing.TB, text []byte) *unstructured.Unstructured {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(asJSON); err != nil {
		// Objects without a kind are read too: Check is to speak of them.
		u.Object = map[string]any{}
		wrapped := append(append([]byte(`{"kind":"x","apiVersion":"v1","in":`), asJSON...), '}')
		w := &unstructured.Unstructured{}
		if err := w.UnmarshalJSON(wrapped); err != nil {
			t.Fatal(err)
		}
		u.Object = mapAt(w.Object, "in")
	}
	return u
}

func asYAML(t testing.TB, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unfailing lets helpers of tests be used inside a property.
type unfailing struct{ testing.TB }

func (unfailing) Helper()           {}
func (unfailing) Fatal(args ...any) { panic(args) }
