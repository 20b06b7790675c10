package placement

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Ref names an object that a workload needs beside it.
type Ref struct {
	Kind            string // ConfigMap, PersistentVolumeClaim, Secret or ServiceAccount
	Namespace, Name string
	Optional        bool // its pods start without it too
}

// perCluster are ConfigMaps that every cluster makes for itself.
var perCluster = []string{"kube-root-ca.crt", "openshift-service-ca.crt"}

// volumeSecrets are volume sources that name a Secret, and where.
var volumeSecrets = [][]string{
	{"secret", "secretName"}, {"azureFile", "secretName"},
	{"cephfs", "secretRef", "name"}, {"csi", "nodePublishSecretRef", "name"}, {"flexVolume", "secretRef", "name"}, {"iscsi", "secretRef", "name"},
	{"rbd", "secretRef", "name"}, {"scaleIO", "secretRef", "name"}, {"storageos", "secretRef", "name"},
}

// Follow says what has to go along with a workload: the ConfigMaps, Secrets,
// ServiceAccounts and PersistentVolumeClaims that its pods name, sorted, each once;
// of a ServiceAccount, the Secrets that its pods pull images with. What a cluster
// makes for itself is left out: the account "default", the ConfigMap with its own
// authority, the claims of a StatefulSet, and the tokens of ServiceAccounts, of which
// those that a pod names by hand are known only when they are read: see Portable.
func Follow(object *unstructured.Unstructured) []Ref {
	f := following{namespace: object.GetNamespace(), found: map[Ref]bool{}}
	if kindOf(object) == kindServiceAccount {
		f.pulls(object.Object)
		return f.refs()
	}
	path, ok := ShapeOf(object, Scale{}).PodsAt()
	if !ok {
		return nil
	}
	spec := mapAt(object.Object, mixed(path, "spec")...)
	if account := cmp.Or(textAt(spec, "serviceAccountName"), textAt(spec, "serviceAccount")); account != "default" {
		f.name("ServiceAccount", account, false)
	}
	f.pulls(spec)
	containers(spec, func(_ string, c map[string]any) { f.container(c) })
	for _, v := range listAt(spec, "volumes") {
		f.volume(v)
	}
	return f.refs()
}

// Portable says why an object that a workload follows must stay where it is; empty:
// it may be copied.
func Portable(object *unstructured.Unstructured) (why string) { return ownOfCluster(object) }

// following is what was found so far; true: only where it may be missing.
type following struct {
	namespace string
	found     map[Ref]bool
}

func (f following) name(kind, name string, optional bool) {
	if name == "" || kind == "ConfigMap" && slices.Contains(perCluster, name) {
		return
	}
	r := Ref{Kind: kind, Namespace: f.namespace, Name: name}
	before, seen := f.found[r]
	f.found[r] = optional && (before || !seen)
}

func (f following) refs() []Ref {
	var refs []Ref
	for r, optional := range f.found {
		r.Optional = optional
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return refs
}

func (f following) pulls(holder map[string]any) {
	for _, s := range listAt(holder, "imagePullSecrets") {
		f.name("Secret", textAt(s, "name"), false)
	}
}

func (f following) container(c map[string]any) {
	for _, e := range listAt(c, "env") {
		for kind, field := range map[string]string{"ConfigMap": "configMapKeyRef", "Secret": "secretKeyRef"} {
			f.name(kind, textAt(e, "valueFrom", field, "name"), flagAt(e, "valueFrom", field, "optional"))
		}
	}
	for _, e := range listAt(c, "envFrom") {
		for kind, field := range map[string]string{"ConfigMap": "configMapRef", "Secret": "secretRef"} {
			f.name(kind, textAt(e, field, "name"), flagAt(e, field, "optional"))
		}
	}
}

func (f following) volume(v any) {
	f.name("ConfigMap", textAt(v, "configMap", "name"), flagAt(v, "configMap", "optional"))
	f.name("PersistentVolumeClaim", textAt(v, "persistentVolumeClaim", "claimName"), false)
	for _, at := range volumeSecrets {
		f.name("Secret", textAt(v, at...), flagAt(v, at[0], "optional"))
	}
	for _, s := range listAt(v, "projected", "sources") {
		f.name("ConfigMap", textAt(s, "configMap", "name"), flagAt(s, "configMap", "optional"))
		f.name("Secret", textAt(s, "secret", "name"), flagAt(s, "secret", "optional"))
	}
}
