package v1alpha1

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Clean takes out of an object what servers and controllers of one cluster have put
// into it, and says which fields these were. The object that it is given stays as it is.
func Clean(o *unstructured.Unstructured) (clean *unstructured.Unstructured, removed []string) {
	c := &cleaning{o: o.DeepCopy(), lived: o.GetUID() != "" || o.GetResourceVersion() != ""}
	c.remove("status")
	for _, key := range slices.Sorted(maps.Keys(serverSet)) {
		c.remove("metadata", key)
	}
	for _, key := range slices.Sorted(maps.Keys(c.o.GetAnnotations())) {
		if strings.HasPrefix(key, "kubectl.kubernetes.io/last-applied") || c.lived && ofControllers(key) {
			c.remove("metadata", "annotations", key)
		}
	}
	c.dropEmpty("metadata", "annotations")
	if c.lived {
		c.kind()
	}
	return c.o, c.removed
}

// cleaning is one object while it is cleaned.
type cleaning struct {
	o       *unstructured.Unstructured
	lived   bool // it comes out of a cluster, so defaults and controllers have been at it
	removed []string
}

// ofControllers are annotations that controllers write.
func ofControllers(key string) bool {
	for _, prefix := range []string{"deployment.kubernetes.io/", "pv.kubernetes.io/", "volume.kubernetes.io/selected-node", "volume.kubernetes.io/storage-provisioner",
		"volume.beta.kubernetes.io/storage-provisioner", "batch.kubernetes.io/job-tracking", "control-plane.alpha.kubernetes.io/leader"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// kind takes out what belongs to one cluster in objects of certain kinds.
func (c *cleaning) kind() {
	switch c.o.GetAPIVersion() + "/" + c.o.GetKind() {
	case "v1/Service":
		c.service()
	case "v1/PersistentVolumeClaim":
		c.remove("spec", "volumeName")
	case "v1/Pod":
		c.remove("spec", "nodeName")
	case "v1/ServiceAccount":
		c.remove("secrets")
	case "batch/v1/Job":
		if manual, _, _ := unstructured.NestedBool(c.o.Object, "spec", "manualSelector"); manual {
			return
		}
		c.remove("spec", "selector")
		for _, at := range [][]string{{"metadata", "labels"}, {"spec", "template", "metadata", "labels"}} {
			for _, key := range []string{"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"} {
				c.remove(append(slices.Clone(at), key)...)
			}
			c.dropEmpty(at...)
		}
	}
}

// service takes out the addresses and ports that a cluster chose. A headless Service
// stays one.
func (c *cleaning) service() {
	if ip, _, _ := unstructured.NestedString(c.o.Object, "spec", "clusterIP"); ip != "None" {
		c.remove("spec", "clusterIP")
		c.remove("spec", "clusterIPs")
	}
	c.remove("spec", "ipFamilies")
	c.remove("spec", "healthCheckNodePort")
	ports, _, _ := unstructured.NestedFieldNoCopy(c.o.Object, "spec", "ports")
	list, _ := ports.([]any)
	chosen := false
	for _, p := range list {
		if m, ok := p.(map[string]any); ok && m["nodePort"] != nil {
			delete(m, "nodePort")
			chosen = true
		}
	}
	if chosen {
		c.removed = append(c.removed, "spec.ports[*].nodePort")
	}
}

// remove takes out a field. What holds nothing is not worth a word.
func (c *cleaning) remove(path ...string) {
	v, there, err := unstructured.NestedFieldNoCopy(c.o.Object, path...)
	if err != nil || !there {
		return
	}
	unstructured.RemoveNestedField(c.o.Object, path...)
	if m, ok := v.(map[string]any); v != nil && (!ok || len(m) > 0) {
		c.removed = append(c.removed, strings.Join(path, "."))
	}
}

func (c *cleaning) dropEmpty(path ...string) {
	if m, there, _ := unstructured.NestedMap(c.o.Object, path...); there && len(m) == 0 {
		unstructured.RemoveNestedField(c.o.Object, path...)
	}
}

// Bound says why an object belongs to the one cluster that it comes from and is made
// anew in every other one; empty: it does not.
func Bound(o *unstructured.Unstructured) string {
	for _, owner := range o.GetOwnerReferences() {
		if owner.Controller != nil && *owner.Controller {
			return "it is made from " + owner.Kind + " " + owner.Name + " in each cluster"
		}
	}
	switch o.GroupVersionKind().Group + "/" + o.GetKind() {
	case "/Event", "events.k8s.io/Event", "/Endpoints", "discovery.k8s.io/EndpointSlice", "/Node", "coordination.k8s.io/Lease", "apps/ControllerRevision":
		return "each cluster makes its own"
	case "/Secret":
		if of, _, _ := unstructured.NestedString(o.Object, "type"); of == "kubernetes.io/service-account-token" {
			return "each cluster makes its own tokens"
		}
	case "/ConfigMap":
		if o.GetName() == "kube-root-ca.crt" {
			return "each cluster makes its own"
		}
	case "/ServiceAccount":
		if o.GetName() == "default" {
			return "each namespace has its own"
		}
	case "/Service":
		if o.GetName() == "kubernetes" && o.GetNamespace() == "default" {
			return "each cluster makes its own"
		}
	}
	return ""
}
