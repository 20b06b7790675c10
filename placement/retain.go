package placement

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Retain is what to apply, and what to compare, when a cluster already has the
// object: what was rendered, with the cluster's own values where it has allocated or
// generated them, or where a field cannot be changed any more. live is nil when the
// cluster has no such object; then only what a cluster generates is taken out. Neither
// argument is changed.
//
// Fields that the template does not set are not added: server-side apply leaves them
// alone, and to send them would be to own them, and to take them away the first time
// that they are not sent. So this is only about templates that say too much, mostly
// because they were copied out of a cluster, and about lists that others add to.
func Retain(desired, live *unstructured.Unstructured) *unstructured.Unstructured {
	out := desired.DeepCopy()
	object, there := out.Object, map[string]any{}
	if live != nil {
		there = live.Object
	}
	switch kindOf(desired) {
	case kindService:
		retainService(object, there)
	case kindServiceAccount:
		retainAccount(object, there)
	case kindSecret:
		if textAt(object, "type") == "kubernetes.io/service-account-token" {
			drop(object, "data") // the cluster's controller fills it in
			drop(object, "metadata", "annotations", "kubernetes.io/service-account.uid")
		}
	case kindClaim:
		retainClaim(object, there)
	case kindVolume:
		// The claim is bound by name; the rest says which claim of which cluster.
		if claim := mapAt(there, "spec", "claimRef"); claim != nil && at(object, "spec", "claimRef") != nil {
			put(object, copyOf(claim), "spec", "claimRef")
		} else {
			drop(object, "spec", "claimRef", "uid")
			drop(object, "spec", "claimRef", "resourceVersion")
		}
	case kindJob:
		retainJob(object)
	}
	return out
}

// retainService keeps the addresses and ports that a cluster allocated. A node port
// that the template names is its author's wish.
func retainService(object, live map[string]any) {
	for _, field := range []string{"clusterIP", "clusterIPs"} {
		if allocated(at(object, "spec", field)) && allocated(at(live, "spec", field)) {
			put(object, copyOf(at(live, "spec", field)), "spec", field)
		}
	}
	if textAt(object, "spec", "clusterIP") == "" {
		drop(object, "spec", "clusterIP")
	}
	if port, ok := countAt(live, "spec", "healthCheckNodePort"); ok && port > 0 && at(object, "spec", "healthCheckNodePort") != nil {
		put(object, port, "spec", "healthCheckNodePort")
	} else if n, _ := countAt(object, "spec", "healthCheckNodePort"); n == 0 {
		drop(object, "spec", "healthCheckNodePort")
	}
	for _, p := range listAt(object, "spec", "ports") {
		if n, _ := countAt(p, "nodePort"); n == 0 {
			delete(mapAt(p), "nodePort") // no wish: any
		}
	}
}

// allocated reports whether a clusterIP or a list of them is an address: an empty one
// or None is a wish of its author.
func allocated(v any) bool {
	switch v := v.(type) {
	case string:
		return v != "" && v != "None"
	case []any:
		return len(v) > 0 && allocated(v[0])
	}
	return false
}

// retainAccount keeps the Secrets that controllers of the cluster add to an account:
// its tokens, and OpenShift's credentials for its own registry, which are named
// after the account. Without this the two would write in turns for ever.
func retainAccount(object, live map[string]any) {
	generated := textAt(object, "metadata", "name") + "-dockercfg-"
	for field, theirs := range map[string]func(string) bool{
		"secrets":          func(string) bool { return true },
		"imagePullSecrets": func(name string) bool { return strings.HasPrefix(name, generated) },
	} {
		ours := listAt(object, field)
		if len(ours) == 0 {
			continue // not owned, so left alone
		}
		merged := slices.Clone(ours)
		for _, s := range listAt(live, field) {
			name := textAt(s, "name")
			has := slices.ContainsFunc(ours, func(o any) bool { return textAt(o, "name") == name })
			if !has && theirs(name) {
				merged = append(merged, copyOf(s))
			}
		}
		object[field] = merged
	}
}

// retainClaim keeps the volume that a claim is bound to, and a size that the cluster
// has let it grow to: neither can be taken back.
func retainClaim(object, live map[string]any) {
	if volume := textAt(live, "spec", "volumeName"); volume != "" && at(object, "spec", "volumeName") != nil {
		put(object, volume, "spec", "volumeName")
	}
	size := []string{"spec", "resources", "requests", "storage"}
	want, ok := quantity(at(object, size...))
	has, grown := quantity(at(live, size...))
	if ok && grown && has.Cmp(want) > 0 {
		put(object, at(live, size...), size...)
	}
}

// generatedLabels are those by which a Job's controller knows its pods.
var generatedLabels = []string{"controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"}

// retainJob takes out the selector that a controller generated, for it names the UID of
// the Job it was copied from.
func retainJob(object map[string]any) {
	if flagAt(object, "spec", "manualSelector") {
		return
	}
	drop(object, "spec", "selector")
	for _, label := range generatedLabels {
		drop(object, "spec", "template", "metadata", "labels", label)
	}
}

// Bare is an object of a cluster as its author would have written it: without status
// and what API servers and controllers write, so that it can be a template. The object
// itself is not changed.
func Bare(live *unstructured.Unstructured) *unstructured.Unstructured {
	out := live.DeepCopy()
	object := out.Object
	drop(object, "status")
	for _, field := range append(slices.Clone(serverSet), "finalizers") {
		drop(object, "metadata", field)
	}
	for key := range pasted {
		drop(object, "metadata", "annotations", key)
	}
	for _, key := range []string{AnnotationPlacedBy, AnnotationPlacedFrom} {
		drop(object, "metadata", "annotations", key)
	}
	drop(object, "metadata", "labels", LabelPlaced)
	if kindOf(live) == kindService {
		for _, field := range []string{"clusterIP", "clusterIPs"} {
			if allocated(at(object, "spec", field)) {
				drop(object, "spec", field)
			}
		}
		drop(object, "spec", "healthCheckNodePort")
		for _, p := range listAt(object, "spec", "ports") {
			delete(mapAt(p), "nodePort")
		}
	}
	switch kindOf(live) {
	case kindClaim:
		drop(object, "spec", "volumeName")
	case kindVolume:
		drop(object, "spec", "claimRef")
	case kindServiceAccount:
		drop(object, "secrets")
	case kindJob:
		for _, label := range generatedLabels {
			if !flagAt(object, "spec", "manualSelector") {
				drop(object, "metadata", "labels", label)
			}
		}
	}
	if path, ok := ShapeOf(live, Scale{}).PodsAt(); ok && len(path) > 0 {
		drop(object, mixed(path, "metadata", "creationTimestamp")...)
	}
	for _, path := range [][]string{{"metadata", "annotations"}, {"metadata", "labels"}} {
		if m := mapAt(object, path...); m != nil && len(m) == 0 {
			drop(object, path...)
		}
	}
	return Retain(out, nil)
}
