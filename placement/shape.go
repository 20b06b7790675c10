package placement

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The kinds that Meridian knows something of, whatever their version.
var (
	kindDeployment  = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	kindReplicaSet  = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	kindStatefulSet = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	kindDaemonSet   = schema.GroupKind{Group: "apps", Kind: "DaemonSet"}
	kindJob         = schema.GroupKind{Group: "batch", Kind: "Job"}
	kindCronJob     = schema.GroupKind{Group: "batch", Kind: "CronJob"}
	kindHPA         = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}
	kindIngress     = schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}

	kindReplicationController = schema.GroupKind{Kind: "ReplicationController"}
	kindPod                   = schema.GroupKind{Kind: "Pod"}
	kindPodTemplate           = schema.GroupKind{Kind: "PodTemplate"}
	kindService               = schema.GroupKind{Kind: "Service"}
	kindServiceAccount        = schema.GroupKind{Kind: "ServiceAccount"}
	kindSecret                = schema.GroupKind{Kind: "Secret"}
	kindConfigMap             = schema.GroupKind{Kind: "ConfigMap"}
	kindClaim                 = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	kindVolume                = schema.GroupKind{Kind: "PersistentVolume"}
)

// kindOf is an object's kind and group. A version that cannot be read is left out.
func kindOf(object *unstructured.Unstructured) schema.GroupKind {
	group, _, found := strings.Cut(object.GetAPIVersion(), "/")
	if !found {
		group = ""
	}
	return schema.GroupKind{Group: group, Kind: object.GetKind()}
}

// Shape is what Meridian knows of a kind of object: what of it can be divided over
// clusters, and where its pods are described. The zero Shape is that of an object
// which is given to every cluster as it is.
type Shape struct {
	Replicas []string // where the wanted number of copies is; nil: it has none to divide
	PerNode  bool     // one copy on every node, so that the nodes say how many
	Scales   bool     // it says how many copies another object has: an HPA
	pods     []string // where its pod template is, empty for the object itself; nil: it has none
}

var shapes = map[schema.GroupKind]Shape{
	kindDeployment:            {Replicas: []string{"spec", "replicas"}, pods: []string{"spec", "template"}},
	kindReplicaSet:            {Replicas: []string{"spec", "replicas"}, pods: []string{"spec", "template"}},
	kindStatefulSet:           {Replicas: []string{"spec", "replicas"}, pods: []string{"spec", "template"}},
	kindReplicationController: {Replicas: []string{"spec", "replicas"}, pods: []string{"spec", "template"}},
	kindJob:                   {Replicas: []string{"spec", "parallelism"}, pods: []string{"spec", "template"}},
	kindCronJob:               {pods: []string{"spec", "jobTemplate", "spec", "template"}},
	kindDaemonSet:             {PerNode: true, pods: []string{"spec", "template"}},
	kindPod:                   {pods: []string{}},
	kindPodTemplate:           {pods: []string{"template"}},
	kindHPA:                   {Scales: true},
}

// ShapeOf is the shape of an object. A kind that others defined has replicas where
// scale says, and its pod template at spec.template if it looks like one.
func ShapeOf(object *unstructured.Unstructured, scale Scale) Shape {
	if s, known := shapes[kindOf(object)]; known {
		return s
	}
	s := Shape{Replicas: scale.Spec}
	if listAt(object.Object, "spec", "template", "spec", "containers") != nil {
		s.pods = []string{"spec", "template"}
	}
	return s
}

// Scale is where a kind that others defined keeps its replicas, as its definition's
// scale subresource says. The zero Scale: it has none.
type Scale struct {
	Spec     []string `json:"spec,omitempty"`     // where the wanted number is
	Status   []string `json:"status,omitempty"`   // where the number that there are is
	Selector []string `json:"selector,omitempty"` // where the selector of its pods is, as text; empty: it has none
}

// IsZero reports whether there is no scale.
func (s Scale) IsZero() bool { return s.Spec == nil }

// A path of a scale subresource: no more than names with dots before them.
var scalePath = regexp.MustCompile(`^(\.[A-Za-z0-9_-]+)+$`)

// ParseScale reads the paths of a scale subresource: ".spec.replicas",
// ".status.replicas" and, if it has one, ".status.selector".
func ParseScale(spec, status, selector string) (Scale, error) {
	for path, root := range map[string]string{spec: ".spec.", status: ".status."} {
		if len(path) > 256 || !scalePath.MatchString(path) || !strings.HasPrefix(path, root) {
			return Scale{}, fmt.Errorf("a scale subresource keeps its numbers below %sname, and not at %.64q", root, path)
		}
	}
	scale := Scale{Spec: strings.Split(spec[1:], "."), Status: strings.Split(status[1:], ".")}
	if len(selector) <= 256 && scalePath.MatchString(selector) {
		scale.Selector = strings.Split(selector[1:], ".")
	}
	return scale, nil
}

// PodsAt is where the object's pod template is, below the object itself if it has
// one; the template has metadata and a spec. An empty path is the object itself.
func (s Shape) PodsAt() (path []string, ok bool) { return slices.Clone(s.pods), s.pods != nil }

// containerLists are the lists of a pod's containers.
var containerLists = []string{"initContainers", "containers", "ephemeralContainers"}

// containers calls do with each container of a pod, and its name.
func containers(spec map[string]any, do func(name string, container map[string]any)) {
	for _, list := range containerLists {
		for _, c := range listAt(spec, list) {
			if m := mapAt(c); m != nil {
				do(textAt(m, "name"), m)
			}
		}
	}
}

// Target is the object that an HPA scales, in its own namespace; false when the
// object is none or does not say.
func Target(object *unstructured.Unstructured) (kind schema.GroupKind, name string, ok bool) {
	if kindOf(object) != kindHPA {
		return schema.GroupKind{}, "", false
	}
	target := mapAt(object.Object, "spec", "scaleTargetRef")
	group, _, found := strings.Cut(textAt(target, "apiVersion"), "/")
	if !found {
		group = ""
	}
	kind, name = schema.GroupKind{Group: group, Kind: textAt(target, "kind")}, textAt(target, "name")
	return kind, name, kind.Kind != "" && name != ""
}

// Count is what one cluster says of a workload's copies.
type Count struct {
	Desired   int64 // what its object asks for
	Current   int64 // that are there
	Ready     int64
	Updated   int64 // made from the newest template
	Available int64 // ready for long enough
	Succeeded int64 // of a Job, and no longer there
	Failed    int64 // of a Job, and no longer there
	Over      bool  // a Job that is complete or has failed
	Broken    bool  // a Job that has failed
	Fresh     bool  // the numbers but Desired are of the object as it now is; otherwise of an earlier generation
}

// CountOf reads a workload as it is in a cluster; false when its kind has no
// copies, or it does not say how many.
func CountOf(live *unstructured.Unstructured, scale Scale) (Count, bool) {
	status := mapAt(live.Object, "status")
	number := func(field string) int64 { n, _ := countAt(status, field); return max(0, n) }
	shape, kind := ShapeOf(live, scale), kindOf(live)
	if shape.PerNode {
		return Count{
			Desired: number("desiredNumberScheduled"), Current: number("currentNumberScheduled"),
			Ready: number("numberReady"), Updated: number("updatedNumberScheduled"), Available: number("numberAvailable"),
			Fresh: fresh(live),
		}, true
	}
	if shape.Replicas == nil {
		return Count{}, false
	}
	desired, said := countAt(live.Object, shape.Replicas...)
	if _, known := shapes[kind]; known && !said {
		desired, said = 1, true // as an API server would say
	}
	c := Count{Desired: max(0, desired), Fresh: fresh(live)}
	switch kind {
	case kindJob:
		c.Current, c.Ready, c.Updated, c.Available = number("active"), number("ready"), number("active"), number("ready")
		c.Succeeded, c.Failed = number("succeeded"), number("failed")
		c.Broken = textAt(conditionOf(status, "Failed"), "status") == "True"
		c.Over = c.Broken || textAt(conditionOf(status, "Complete"), "status") == "True"
		c.Fresh = len(status) > 0 // a Job does not say of which generation
	case kindReplicaSet, kindReplicationController:
		c.Current, c.Ready, c.Updated, c.Available = number("replicas"), number("readyReplicas"), number("replicas"), number("availableReplicas")
	default:
		c.Current, c.Ready, c.Updated, c.Available = number("replicas"), number("readyReplicas"), number("updatedReplicas"), number("availableReplicas")
		if scale.Status != nil && kind.Group != "apps" {
			n, _ := countAt(live.Object, scale.Status...)
			c.Current = max(0, n)
			if _, said := countAt(status, "readyReplicas"); !said { // all that a scale says is how many there are
				c.Ready = c.Current
			}
		}
	}
	return c, said
}

// fresh reports whether the status is of the object as it now is. Some kinds of
// others keep the generation as a string, and those that keep none are believed.
func fresh(live *unstructured.Unstructured) bool {
	if live.GetGeneration() == 0 {
		return true
	}
	switch seen := at(live.Object, "status", "observedGeneration").(type) {
	case nil:
		_, ours := shapes[kindOf(live)]
		return !ours && len(mapAt(live.Object, "status")) > 0
	case string:
		return seen == fmt.Sprint(live.GetGeneration())
	default:
		n, ok := countAt(live.Object, "status", "observedGeneration")
		return ok && n >= live.GetGeneration()
	}
}
