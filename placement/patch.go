package placement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Bounds of a JSON patch.
const (
	maxPatch     = 64 << 10 // bytes
	maxPatchSize = 256      // operations
)

// identity is what a patch may not touch: by it the object is found again.
var identity = []string{"/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"}

// CheckPatch says what is wrong with a JSON patch (RFC 6902) before it is tried on any
// object: it is bounded, each of its operations is whole, and none changes which
// object it is. The whole object is no place for an operation.
func CheckPatch(patch []byte) error {
	_, err := decodePatch(patch)
	return err
}

func decodePatch(patch []byte) (jsonpatch.Patch, error) {
	switch {
	case len(patch) > maxPatch:
		return nil, fmt.Errorf("the patch has %d bytes; at most %d are read, so write less or give the cluster an object of its own", len(patch), maxPatch)
	case depthOf(patch) > maxDepth:
		return nil, fmt.Errorf("the patch nests deeper than %d; write it flatter", maxDepth)
	case !bytes.HasPrefix(bytes.TrimSpace(patch), []byte("[")):
		return nil, errors.New("a patch is a list of operations, like [{\"op\": \"add\", \"path\": \"/metadata/labels/tier\", \"value\": \"web\"}]")
	}
	var operations []operation
	if err := json.Unmarshal(patch, &operations); err != nil {
		return nil, fmt.Errorf("the patch cannot be read: %w; write a list of operations with op, path and value or from", err)
	}
	if len(operations) > maxPatchSize {
		return nil, fmt.Errorf("the patch has %d operations; at most %d are read, so replace whole fields", len(operations), maxPatchSize)
	}
	for i, o := range operations {
		if err := o.check(); err != nil {
			return nil, fmt.Errorf("operation %d of the patch %w", i+1, err)
		}
	}
	// Written anew, so that the library reads just what was checked: no member
	// twice, none in other letters.
	clean, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("the patch cannot be written: %w", err)
	}
	decoded, err := jsonpatch.DecodePatch(clean)
	if err != nil {
		return nil, fmt.Errorf("the patch cannot be read: %w", err)
	}
	return decoded, nil
}

type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// check says, after "operation 1 of the patch", what is wrong.
func (o operation) check() error {
	if !slices.Contains([]string{"add", "remove", "replace", "move", "copy", "test"}, o.Op) {
		return fmt.Errorf("does %.32q; there are add, remove, replace, move, copy and test", o.Op)
	}
	needsValue, needsFrom := slices.Contains([]string{"add", "replace", "test"}, o.Op), o.Op == "move" || o.Op == "copy"
	if needsValue && o.Value == nil {
		return fmt.Errorf("(%s %s) has no value; give it one, which may be null", o.Op, o.Path)
	}
	if err := checkPointer(o.Path); err != nil {
		return err
	}
	touched := []string{o.Path}
	switch {
	case needsFrom:
		if err := checkPointer(o.From); err != nil {
			return err
		}
		if o.Op == "copy" {
			break
		}
		if strings.HasPrefix(o.Path+"/", o.From+"/") {
			return fmt.Errorf("(move %s) puts a field into itself; choose another path", o.Path)
		}
		touched = append(touched, o.From)
	case o.Op == "test":
		return nil // changes nothing
	}
	for _, path := range touched {
		for _, fixed := range identity {
			if path == fixed || path == "/metadata" {
				return fmt.Errorf("(%s %s) would change which object it is; apiVersion, kind, name and namespace are those of the template", o.Op, path)
			}
		}
	}
	return nil
}

// checkPointer reads a JSON pointer (RFC 6901). Fields without a name are no part of any
// object of Kubernetes.
func checkPointer(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("has the path %.128q; a path begins with a slash, like /spec/replicas, and is not the whole object", path)
	}
	for _, field := range strings.Split(path[1:], "/") {
		if field == "" {
			return fmt.Errorf("has the path %.128q with nothing between two slashes or at its end; name the field", path)
		}
		if rest := strings.NewReplacer("~0", "", "~1", "").Replace(field); strings.Contains(rest, "~") {
			return fmt.Errorf("has the path %.128q; in a path ~ is written ~0, and / inside a name ~1", path)
		}
	}
	return nil
}

// patched is the object with a patch applied; the object itself stays as it was.
func patched(object map[string]any, patch []byte, limit int) (map[string]any, error) {
	decoded, err := decodePatch(patch)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("the object cannot be written as JSON: %w", err)
	}
	options := jsonpatch.NewApplyOptions()
	options.SupportNegativeIndices = false // RFC 6901 has none
	options.AccumulatedCopySizeLimit = int64(limit)
	after, err := decoded.ApplyWithOptions(before, options)
	if err != nil {
		return nil, fmt.Errorf("the patch does not apply: %w; \"meridian render\" prints the object that it meets", err)
	}
	if len(after) > 4*limit || depthOf(after) > maxDepth {
		return nil, fmt.Errorf("the patch makes an object of %d bytes that nests %d deep; let it add less", len(after), depthOf(after))
	}
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(after); err != nil {
		return nil, fmt.Errorf("what the patch makes is no object: %w", err)
	}
	return u.Object, nil
}
