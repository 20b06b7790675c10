package v1alpha1

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/placement"
)

// MaxTemplate is how many bytes of JSON a template may have. An API server stores
// one and a half million bytes, and the status has to fit beside it.
const MaxTemplate = 768 << 10

// serverSet are the fields of metadata that a server fills in, and what they do in a
// template. Owners lie in one cluster, and the garbage collectors of all others would
// delete what names them.
var serverSet = map[string]string{
	"creationTimestamp": "", "deletionGracePeriodSeconds": "", "deletionTimestamp": "", "generation": "", "managedFields": "",
	"ownerReferences": ", and an owner in one cluster is none in the others", "resourceVersion": "", "selfLink": "", "uid": "",
}

// parse makes the object that every cluster is given, in the namespace of what holds it.
func (t *Template) parse(f *field.Faults, path, namespace string) *unstructured.Unstructured {
	switch {
	case len(t.Raw) == 0 || string(t.Raw) == "null":
		f.Add(path, "is missing; write the object that the clusters are to have, with apiVersion, kind and metadata.name")
		return nil
	case len(t.Raw) > MaxTemplate:
		f.Add(path, "has %d bytes and at most %d are taken, since an API server stores little more; make it smaller, or divide it into several objects", len(t.Raw), MaxTemplate)
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(t.Raw, &m); err != nil || m == nil {
		f.Add(path, "is no object; write one with apiVersion, kind and metadata.name")
		return nil
	}
	before := f.Count()
	o := &unstructured.Unstructured{Object: m}
	apiVersion, kindName := word(f, path, m, "apiVersion"), word(f, path, m, "kind")
	kind(f, path, apiVersion, kindName)
	if _, there := m["status"]; there {
		f.Add(path+".status", "is what each cluster says of its own object; remove it, or let \"meridian federate\" do so")
	}
	metadata(f, path+".metadata", m, namespace, placement.ClusterScoped(o.GroupVersionKind().Group, kindName))
	if f.Count() > before {
		return nil
	}
	return o
}

// metadata checks that of a template and puts it into its namespace.
func metadata(f *field.Faults, path string, object map[string]any, namespace string, clusterScoped bool) {
	m, ok := object["metadata"].(map[string]any)
	if !ok {
		f.Add(path, "is missing; write at least metadata.name")
		return
	}
	objectName(f, path+".name", word(f, path, m, "name"))
	if g, ok := m["generateName"]; ok && g != "" {
		f.Add(path+".generateName", "lets every cluster make up another name; write metadata.name")
	}
	for _, key := range slices.Sorted(maps.Keys(serverSet)) {
		switch v, there := m[key]; {
		case there && v == nil: // as kubectl writes what it does not know
			delete(m, key)
		case there:
			f.Add(path+"."+key, "is set by a server%s; remove it, or let \"meridian federate\" do so", serverSet[key])
		}
	}
	for _, key := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(m, key); err != nil {
			f.Add(path+"."+key, "holds something that is no text; put quotes around its values")
		}
	}
	given := word(f, path, m, "namespace")
	switch {
	case clusterScoped && given != "":
		f.Add(path+".namespace", "is given, and objects of this kind have none; remove it")
	case clusterScoped:
		delete(m, "namespace")
	case given != "" && given != namespace:
		f.Add(path+".namespace", "is %s, and the object that holds the template lies in %s; write the same for both, or leave it out here", field.Quote(given), field.Quote(namespace))
	default:
		m["namespace"] = namespace
	}
}

// word is a text in an object; empty when it is not there.
func word(f *field.Faults, path string, m map[string]any, key string) string {
	s, ok := m[key].(string)
	if m[key] != nil && !ok {
		f.Add(path+"."+key, "is no text; put quotes around it")
	}
	return s
}

// kind checks what an object is, as apiVersion and kind say.
func kind(f *field.Faults, path, apiVersion, name string) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	switch {
	case apiVersion == "" || len(apiVersion) > 317 || err != nil || field.Label(gv.Version) != nil || gv.Group != "" && field.Subdomain(gv.Group) != nil:
		f.Add(path+".apiVersion", "%s is no group and version; write it as the kind's documentation does, like \"apps/v1\"", field.Quote(apiVersion))
	case gv.Group == Group:
		f.Add(path+".apiVersion", "%s holds Meridian's own kinds, which belong in the host cluster only; apply the object there as it is", field.Quote(apiVersion))
	}
	switch {
	case len(name) > 63 || len(validation.IsDNS1035Label(strings.ToLower(name))) > 0:
		f.Add(path+".kind", "%s is no kind; write it as its documentation does, like \"Deployment\"", field.Quote(name))
	case apiVersion == "v1" && strings.HasSuffix(name, "List"):
		f.Add(path+".kind", "%s is a list; write each object in it by itself, as \"meridian federate\" does", field.Quote(name))
	}
}

// objectName checks the name of an object of any kind; those of roles may hold colons.
func objectName(f *field.Faults, path, name string) {
	switch {
	case name == "":
		f.Add(path, "is missing; write the name that every cluster's object will have")
	case len(name) > 253:
		f.Add(path, "%s has %d characters, at most 253 are allowed", field.Quote(name), len(name))
	case len(content.IsPathSegmentName(name)) > 0 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		f.Add(path, "%s is no name of an object; use letters, digits, '-' and '.'", field.Quote(name))
	}
}
