package install

import (
	"bytes"
	"testing"
)

func TestRender(t *testing.T) {
	var first []byte
	for range 3 {
		objects, err := Render(Namespace, map[string]any{"region": "europe-west1", "createNamespace": true})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteYAML(&b, []Part{{Where: "x", Objects: objects}}); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
			for _, o := range objects {
				t.Log(name(o))
			}
		}
		if !bytes.Equal(first, b.Bytes()) {
			t.Error("two renderings differ")
		}
	}
}
