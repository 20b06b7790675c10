package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// resource is a kind that a stub has.
type resource struct {
	group, version, kind, name string
	namespaced                 bool
}

func (r resource) groupVersion() string {
	if r.group == "" {
		return r.version
	}
	return r.group + "/" + r.version
}

var (
	namespaceResource = resource{"", "v1", "Namespace", "namespaces", false}
	configMapResource = resource{"", "v1", "ConfigMap", "configmaps", true}
	serviceResource   = resource{"", "v1", "Service", "services", true}
	podResource       = resource{"", "v1", "Pod", "pods", true}
	eventResource     = resource{"", "v1", "Event", "events", true}
	deployResource    = resource{"apps", "v1", "Deployment", "deployments", true}
	scalerResource    = resource{"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true}
	leaseResource     = resource{"coordination.k8s.io", "v1", "Lease", "leases", true}
	objectResource    = resource{"meridian.dev", "v1alpha1", "FederatedObject", "federatedobjects", true}
)

var (
	ofMember = []resource{namespaceResource, configMapResource, serviceResource, podResource, deployResource, scalerResource}
	ofHost   = []resource{namespaceResource, eventResource, leaseResource, objectResource}
)

// object is one as JSON decodes it.
type object map[string]any

func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func (o object) meta() map[string]any {
	m, ok := o["metadata"].(map[string]any)
	if !ok {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

// item is an object as a stub keeps it: as the bytes that it sends.
type item struct {
	resource        resource
	namespace, name string
	labels          labels.Set
	data            []byte
}

func (i *item) object() object {
	var o object
	if err := json.Unmarshal(i.data, &o); err != nil {
		panic(fmt.Sprintf("a stub keeps an object that is no JSON: %v", err)) // it wrote it itself
	}
	return o
}

type key struct{ resource, namespace, name string }

func (i *item) key() key { return key{i.resource.name, i.namespace, i.name} }

// event is one of a watch.
type event struct {
	revision uint64
	verb     string // ADDED, MODIFIED or DELETED
	item     *item
}

// kept bounds the events that a stub keeps for watches that lag.
const kept = 4096

// shelf is a stub's storage. Its owner holds a lock.
type shelf struct {
	revision uint64
	items    map[key]*item
	events   []event // the last ones, oldest first
	dropped  uint64  // revision of the last event that is kept no more
	more     chan struct{}
}

func newShelf() *shelf {
	return &shelf{revision: 1, items: map[key]*item{}, more: make(chan struct{})}
}

// put stores an object in its next revision.
func (s *shelf) put(r resource, o object) (*item, error) {
	s.revision++
	meta := o.meta()
	meta["resourceVersion"] = strconv.FormatUint(s.revision, 10)
	data, err := json.Marshal(map[string]any(o))
	if err != nil {
		return nil, err
	}
	i := &item{resource: r, namespace: o.text("metadata", "namespace"), name: o.text("metadata", "name"), labels: labels.Set{}, data: data}
	if m, ok := meta["labels"].(map[string]any); ok {
		for k, v := range m {
			i.labels[k], _ = v.(string)
		}
	}
	verb := "MODIFIED"
	if s.items[i.key()] == nil {
		verb = "ADDED"
	}
	s.items[i.key()] = i
	s.tell(verb, i)
	return i, nil
}

// fresh gives a new object what servers give it.
func (s *shelf) fresh(o object) {
	meta := o.meta()
	meta["uid"] = fmt.Sprintf("00000000-0000-4000-8000-%012x", s.revision+1)
	meta["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	meta["generation"] = 1
}

func (s *shelf) remove(i *item) error {
	o := i.object()
	s.revision++
	o.meta()["resourceVersion"] = strconv.FormatUint(s.revision, 10)
	data, err := json.Marshal(map[string]any(o))
	if err != nil {
		return err
	}
	gone := *i
	gone.data = data
	delete(s.items, i.key())
	s.tell("DELETED", &gone)
	return nil
}

func (s *shelf) tell(verb string, i *item) {
	if len(s.events) >= 2*kept {
		s.dropped = s.events[len(s.events)-kept-1].revision
		s.events = append([]event(nil), s.events[len(s.events)-kept:]...)
	}
	s.events = append(s.events, event{s.revision, verb, i})
	close(s.more)
	s.more = make(chan struct{})
}

// forget drops all events, as a restart does.
func (s *shelf) forget() {
	s.events, s.dropped = nil, s.revision
}

// since are the events after a revision; false: some of them are kept no more.
func (s *shelf) since(revision uint64) ([]event, bool) {
	if revision < s.dropped {
		return nil, false
	}
	low, high := 0, len(s.events)
	for low < high {
		if mid := (low + high) / 2; s.events[mid].revision <= revision {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return s.events[low:], true
}

// selection is which objects a question means.
type selection struct {
	resource  string
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

func selectionOf(r resource, namespace string, query url.Values) (selection, error) {
	s := selection{resource: r.name, namespace: namespace}
	var err error
	if s.labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return s, err
	}
	s.fields, err = fields.ParseSelector(query.Get("fieldSelector"))
	return s, err
}

// means knows of fields only the names; any other is empty.
func (s selection) means(i *item) bool {
	return i.resource.name == s.resource && (s.namespace == "" || s.namespace == i.namespace) && s.labels.Matches(i.labels) &&
		s.fields.Matches(fields.Set{"metadata.name": i.name, "metadata.namespace": i.namespace})
}

func (s *shelf) list(which selection) []*item {
	var list []*item
	for _, i := range s.items {
		if which.means(i) {
			list = append(list, i)
		}
	}
	return list
}

// owned are an apply's fields in the form of managedFields, lists as a whole.
func owned(v any) map[string]any {
	out := map[string]any{}
	m, _ := v.(map[string]any)
	for k, v := range m {
		out["f:"+k] = owned(v)
	}
	return out
}

func ownedBy(manager string, o object, r resource) map[string]any {
	own := owned(map[string]any(o))
	delete(own, "f:apiVersion")
	delete(own, "f:kind")
	if meta, ok := own["f:metadata"].(map[string]any); ok {
		delete(meta, "f:name")
		delete(meta, "f:namespace")
	}
	return map[string]any{"manager": manager, "operation": "Apply", "apiVersion": r.groupVersion(), "time": time.Now().UTC().Format(time.RFC3339), "fieldsType": "FieldsV1", "fieldsV1": own}
}

// find finds a resource by its path's words, and what follows it.
func find(list []resource, path string) (r resource, namespace, name, sub string, ok bool) {
	words := strings.Split(strings.Trim(path, "/"), "/")
	group := ""
	switch {
	case len(words) >= 3 && words[0] == "api":
		words = words[1:]
	case len(words) >= 4 && words[0] == "apis":
		group, words = words[1], words[2:]
	default:
		return r, "", "", "", false
	}
	version := words[0]
	words = words[1:]
	if len(words) >= 3 && words[0] == "namespaces" {
		namespace, words = words[1], words[2:]
	}
	words = append(words, "", "", "")
	for _, r := range list {
		if r.group == group && r.version == version && r.name == words[0] {
			return r, namespace, words[1], words[2], true
		}
	}
	return r, "", "", "", false
}
