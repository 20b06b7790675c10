package plain

import (
	"context"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// always are the kinds that are federated whether a Placement names them or not, by
// their resources. Ingresses are not among them: they are steered, not placed.
// Namespaces come into being where something is placed in them.
var always = map[schema.GroupVersionKind]string{
	appsv1.SchemeGroupVersion.WithKind("DaemonSet"):                      "daemonsets",
	appsv1.SchemeGroupVersion.WithKind("Deployment"):                     "deployments",
	appsv1.SchemeGroupVersion.WithKind("ReplicaSet"):                     "replicasets",
	appsv1.SchemeGroupVersion.WithKind("StatefulSet"):                    "statefulsets",
	autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"): "horizontalpodautoscalers",
	batchv1.SchemeGroupVersion.WithKind("CronJob"):                       "cronjobs",
	batchv1.SchemeGroupVersion.WithKind("Job"):                           "jobs",
	corev1.SchemeGroupVersion.WithKind("ConfigMap"):                      "configmaps",
	corev1.SchemeGroupVersion.WithKind("Secret"):                         "secrets",
	corev1.SchemeGroupVersion.WithKind("Service"):                        "services",
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"):                 "serviceaccounts",
}

// isAlways reports whether objects of a kind are federated unasked.
func isAlways(gvk schema.GroupVersionKind) bool { return always[gvk] != "" }

// staff watches just the kinds that are federated now: the usual ones, those that
// Placements name, and those of which something is federated still.
func (f *Federator) staff(ctx context.Context) {
	want := maps.Clone(always)
	known := map[schema.GroupKind]bool{}
	for gvk := range want {
		known[gvk.GroupKind()] = true
	}
	add := func(gvk schema.GroupVersionKind) {
		if gvk.Kind != "" && gvk.Version != "" && gvk.Group != federatedObject.Group && !known[gvk.GroupKind()] {
			known[gvk.GroupKind()], want[gvk] = true, ""
		}
	}
	f.mu.Lock()
	named := f.rules.kinds
	f.mu.Unlock()
	for _, gvk := range named {
		add(gvk)
	}
	for _, o := range f.federated.list() {
		if k, ok := sourceOf(o); ok {
			add(k.GroupVersionKind)
		}
	}
	for gvk, resource := range want {
		f.mu.Lock()
		there := f.shelves[gvk.GroupKind()] != nil
		f.mu.Unlock()
		if there {
			continue
		}
		if resource == "" {
			if resource = f.resource(gvk); resource == "" {
				continue // it is not there yet
			}
		}
		turn, cancel := context.WithCancel(ctx)
		s := &shelf{gvk: gvk, gvr: gvk.GroupVersion().WithResource(resource), changed: f.queue.Add, end: cancel}
		f.mu.Lock()
		f.shelves[gvk.GroupKind()] = s
		f.mu.Unlock()
		f.work.Go(func() { f.follow(turn, s) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for gk, s := range f.shelves {
		if _, stays := want[s.gvk]; !stays {
			s.end()
			delete(f.shelves, gk)
		}
	}
}

// resource is that of a kind whose objects lie in namespaces; empty: there is none, or
// the API server does not say.
func (f *Federator) resource(gvk schema.GroupVersionKind) string {
	list, err := f.discovery.ServerResourcesForGroupVersion(gvk.GroupVersion().String())
	if err != nil {
		return ""
	}
	for _, r := range list.APIResources {
		if r.Kind == gvk.Kind && r.Namespaced && !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "watch") {
			return r.Name
		}
	}
	return ""
}

// shelf is that of a kind; nil: it is not watched.
func (f *Federator) shelf(gvk schema.GroupVersionKind) *shelf {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.shelves[gvk.GroupKind()]; s != nil && s.gvk == gvk {
		return s
	}
	return nil
}

// watched are the shelves of all kinds that are federated.
func (f *Federator) watched() []*shelf {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.shelves))
}
