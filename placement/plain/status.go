package plain

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// fare is how a workload fares in its clusters.
type fare struct {
	told    []placement.Told
	current bool // all of them speak of the workload as it was when source was read
	source  string
}

// Fares hears how a workload fares, whenever that was looked at. Current says that all
// clusters speak of it as it is now. What is told is never changed. It does not block.
func (f *Federator) Fares(o *v1alpha1.FederatedObject, told []placement.Told, current bool) {
	source := o.Annotations[sourceAnnotation]
	owner := metav1.GetControllerOf(o)
	if source == "" || owner == nil {
		return // somebody wrote it himself
	}
	now := fare{told: told, current: current, source: source}
	f.mu.Lock()
	before, known := f.fares[o.UID]
	f.fares[o.UID] = now
	f.mu.Unlock()
	if !known || !reflect.DeepEqual(before, now) {
		f.queue.AddAfter(key{schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind), types.NamespacedName{Namespace: o.Namespace, Name: owner.Name}}, f.cfg.Pace.Status)
	}
}

// counts are the kinds in whose status an API server says which generation it is about.
var counts = map[string]bool{"Deployment": true, "ReplicaSet": true, "StatefulSet": true, "DaemonSet": true, "ReplicationController": true}

// sum writes the sum of what clusters show of an object into its status, where it differs.
func (f *Federator) sum(ctx context.Context, s *shelf, o, made *unstructured.Unstructured) error {
	f.mu.Lock()
	now, known := f.fares[made.GetUID()]
	f.mu.Unlock()
	if !known {
		return nil // what was said last stays
	}
	status := placement.Sum(s.gvk.GroupKind(), now.told)
	if status == nil {
		return nil // it has none that adds up
	}
	before, _, _ := unstructured.NestedMap(o.Object, "status")
	if counts[s.gvk.Kind] {
		seen, _, _ := unstructured.NestedInt64(before, "observedGeneration")
		if generation, err := strconv.ParseInt(now.source, 10, 64); err == nil && now.current && generation <= o.GetGeneration() {
			seen = max(seen, generation)
		}
		status["observedGeneration"] = seen
	}
	if s.gvk.Kind == "Service" && service(o) != "LoadBalancer" {
		return nil // only load balancers' addresses are ever told
	}
	if sameStatus(status, before) {
		return nil
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": o.GetUID()},
		{"op": "add", "path": "/status", "value": status},
		{"op": "add", "path": "/metadata/resourceVersion", "value": o.GetResourceVersion()},
	})
	if err != nil {
		return err
	}
	_, err = f.client.Resource(s.gvr).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	f.meter.write("status", err)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return errLater
	case apierrors.IsInvalid(err):
		f.event(ctx, o, "StatusRefused", "the sum of what its clusters say is no status that the API server takes: "+oneLine(err.Error()))
		return nil
	}
	return err
}

func service(o *unstructured.Unstructured) string {
	t, _, _ := unstructured.NestedString(o.Object, "spec", "type")
	return t
}

// sameStatus reports whether a status says this already. Counts that are zero are left out
// by API servers.
func sameStatus(status, before map[string]any) bool {
	bare := func(m map[string]any) map[string]any {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == int64(0) })
		return m
	}
	a, err := normal(bare(status))
	b, err2 := normal(bare(before))
	return err == nil && err2 == nil && reflect.DeepEqual(a, b)
}
