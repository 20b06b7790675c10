package placement

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestCheckPatch says what is wrong with patches before any object is there.
func TestCheckPatch(t *testing.T) {
	many := "[" + strings.Repeat(`{"op":"remove","path":"/a"},`, 256) + `{"op":"remove","path":"/a"}]`
	tests := []struct{ name, patch, want string }{
		{"empty", `[]`, ""},
		{"a null is a value", `[{"op":"add","path":"/spec/a","value":null}]`, ""},
		{"names with a slash", `[{"op":"add","path":"/metadata/annotations/example.com~1a","value":"b"}]`, ""},
		{"identity may be tested", `[{"op":"test","path":"/metadata/name","value":"web"}]`, ""},
		{"identity may be copied", `[{"op":"copy","from":"/metadata/name","path":"/spec/name"}]`, ""},
		{"no list", `{"op":"add"}`, "a patch is a list of operations"},
		{"nothing", ``, "a patch is a list of operations"},
		{"broken", `[{"op":`, "cannot be read"},
		{"another op", `[{"op":"merge","path":"/a"}]`, `operation 1 of the patch does "merge"`},
		{"no value", `[{"op":"remove","path":"/a"},{"op":"add","path":"/a"}]`, "operation 2 of the patch (add /a) has no value"},
		{"no slash", `[{"op":"remove","path":"a"}]`, "a path begins with a slash"},
		{"the whole", `[{"op":"replace","path":"","value":{}}]`, "is not the whole object"},
		{"an end in nothing", `[{"op":"remove","path":"/a/"}]`, "name the field"},
		{"a tilde", `[{"op":"remove","path":"/a~2"}]`, "~ is written ~0"},
		{"no from", `[{"op":"copy","path":"/a"}]`, "a path begins with a slash"},
		{"into itself", `[{"op":"move","from":"/a","path":"/a/b"}]`, "into itself"},
		{"kind", `[{"op":"replace","path":"/kind","value":"Pod"}]`, "would change which object it is"},
		{"apiVersion away", `[{"op":"move","from":"/apiVersion","path":"/spec/v"}]`, "would change which object it is"},
		{"all of metadata", `[{"op":"add","path":"/metadata","value":{}}]`, "would change which object it is"},
		{"too many", many, "257 operations"},
		{"too long", "[" + strings.Repeat(" ", 64<<10) + "]", "at most 65536"},
		{"too deep", strings.Repeat("[", 200), "nests deeper"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPatch([]byte(tt.patch))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error that says %q", err, tt.want)
			}
		})
	}
}

// TestPatched draws patches that are well formed and mostly mean something, for the
// library is not to be trusted with them: the object stays as it was, and so
// does its identity, and what comes out is bounded.
func TestPatched(t *testing.T) {
	const text = `{"apiVersion":"v1","kind":"Thing","metadata":{"name":"x","namespace":"shop","labels":{}},"spec":{"a":{"b":{"c":1}},"list":[1,null,{"d":[]}],"e":"","null":null}}`
	var whole map[string]any
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(whole)
	applied := 0
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]string{"spec", "spec", "spec/list", "spec/a", "spec/a/b", "metadata", "kind", "list", "a", "b", "c", "d", "0", "1", "2", "3", "-", "-1", "01", "null", "e", "name", "labels", "1e1", "~1"})
		path := rapid.Custom(func(t *rapid.T) string { return "/" + strings.Join(rapid.SliceOfN(field, 1, 4).Draw(t, "fields"), "/") })
		value := rapid.SampledFrom([]json.RawMessage{[]byte("null"), []byte("1"), []byte(`""`), []byte("[]"), []byte("{}"), []byte(`{"a":[null,{"b":{}}]}`), []byte(`[[[]]]`), []byte("-1e400"), []byte(`"\ud800"`)})
		operations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) operation {
			return operation{
				Op:   rapid.SampledFrom([]string{"add", "add", "remove", "replace", "move", "copy", "copy", "test"}).Draw(t, "op"),
				Path: path.Draw(t, "path"), From: path.Draw(t, "from"), Value: value.Draw(t, "value"),
			}
		}), 1, 12).Draw(t, "operations")
		patch, err := json.Marshal(operations)
		if err != nil {
			t.Fatal(err)
		}
		after, err := patched(whole, patch, 4000)
		if now, _ := json.Marshal(whole); !bytes.Equal(now, before) {
			t.Fatal("the object changed")
		}
		if err != nil {
			return
		}
		applied++
		if after["kind"] != "Thing" || after["apiVersion"] != "v1" || textAt(after, "metadata", "name") != "x" || textAt(after, "metadata", "namespace") != "shop" {
			t.Fatalf("another object: %v", after)
		}
		if again, err := patched(whole, patch, 4000); err != nil || asYAML(unfailing{}, again) != asYAML(unfailing{}, after) {
			t.Fatalf("applied twice, it is not the same: %v", err)
		}
	})
	if applied == 0 {
		t.Error("no patch applied: the test says nothing")
	}
}
