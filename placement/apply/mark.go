package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/placement"
)

// What is written on an object in a member beside what placement.Render writes.
const (
	neededByAnnotation = placement.AnnotationNeededBy
	appliedAnnotation  = placement.AnnotationApplied
	// namespaceAnnotation is on namespaces that were made because a workload needed
	// them. They are never deleted: others may have put something there since.
	namespaceAnnotation = "meridian.dev/created-for"
)

// mark is the object that is applied: a rendered one, with who needs it and its digest.
func mark(o *unstructured.Unstructured, needing []types.UID) *unstructured.Unstructured {
	o = o.DeepCopy()
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	delete(annotations, appliedAnnotation)
	if len(needing) > 1 {
		uids := make([]string, 0, len(needing))
		for _, uid := range needing {
			uids = append(uids, string(uid))
		}
		slices.Sort(uids)
		annotations[neededByAnnotation] = strings.Join(uids[:min(len(uids), placement.MaxNeeding)], ",")
	}
	o.SetAnnotations(annotations)
	annotations[appliedAnnotation] = digest(o.Object)
	o.SetAnnotations(annotations)
	return o
}

// neededBy are the FederatedObjects that a placed object is there for, by UID; none:
// it was not placed.
func neededBy(o *unstructured.Unstructured) []types.UID {
	return placement.NeededBy(o)
}

// digest tells one value from every other; maps are read in order of their keys.
func digest(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}
