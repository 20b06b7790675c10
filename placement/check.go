package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/fleet"
)

// MaxBytes is how large an object may be as JSON, with its overrides applied. API
// servers keep at most 1.5 MiB, in which an object appears more than once: who
// owns which field is written beside it.
const MaxBytes = 1 << 20

// maxDepth is how deep an object may nest. The deepest that people write are the
// definitions of custom resources, with about 60.
const maxDepth = 128

// Reasons of problems with an object that is to be placed.
const (
	ReasonInvalid     = "InvalidTemplate" // it is no object that could be created
	ReasonServerSet   = "ServerSet"       // it holds what only API servers write
	ReasonNotAllowed  = "NotAllowed"      // such objects are not placed here
	ReasonUnknownKind = "UnknownKind"     // no such kind
	ReasonTooLarge    = "TooLarge"
)

// Rules say what may be placed.
type Rules struct {
	Home    string                    // namespace of the installation itself, which is closed
	System  bool                      // kube-* namespaces are open
	Kinds   map[schema.GroupKind]bool // every kind that there is; true: its objects lie in namespaces. nil: nobody knows
	Cluster []schema.GroupKind        // kinds without namespaces that may be placed
}

// serverSet are the fields of metadata that only API servers write.
var serverSet = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
}

// pasted are annotations and labels of objects that were copied out of a cluster, and
// what writes them there again.
var pasted = map[string]string{
	"kubectl.kubernetes.io/last-applied-configuration": "kubectl",
	"deployment.kubernetes.io/revision":                "the Deployment's controller",
	"deployment.kubernetes.io/revision-history":        "the Deployment's controller",
	"deployment.kubernetes.io/desired-replicas":        "the Deployment's controller",
	"deployment.kubernetes.io/max-replicas":            "the Deployment's controller",
	"pv.kubernetes.io/bind-completed":                  "the volume's controller",
	"pv.kubernetes.io/bound-by-controller":             "the volume's controller",
	"volume.kubernetes.io/selected-node":               "the scheduler",
}

// never are kinds that say what is in a cluster, or that only make sense to the
// cluster that made them; why says what they are.
var never = map[schema.GroupKind]string{
	{Kind: "Node"}:                                     "is a machine that a cluster has",
	{Kind: "Event"}:                                    "says what happened in a cluster",
	{Group: "events.k8s.io", Kind: "Event"}:            "says what happened in a cluster",
	{Kind: "Endpoints"}:                                "says which pods of a cluster serve",
	{Kind: "Binding"}:                                  "is an order to one cluster's scheduler",
	{Kind: "ComponentStatus"}:                          "says how a cluster is",
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: "says which pods of a cluster serve",
	{Group: "coordination.k8s.io", Kind: "Lease"}:      "says who leads in a cluster",
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}: "is a question to one cluster's authority",
	{Group: "apps", Kind: "ControllerRevision"}:                       "is a controller's memory",
	{Group: "storage.k8s.io", Kind: "VolumeAttachment"}:               "says what hangs on a machine",
	{Group: "storage.k8s.io", Kind: "CSINode"}:                        "is a machine that a cluster has",
}

// ownGroup is the group of Meridian's own kinds. To place them would be to place the
// placing.
const ownGroup = "meridian.dev"

// Check says what is wrong with an object that somebody wants to be placed, each in a
// sentence with its remedy, in a fixed order. An object without problems is fit to be
// Template.Object.
func Check(object *unstructured.Unstructured, rules Rules, about fleet.Origin) []fleet.Problem {
	found := faults(object)
	if object.GetKind() != "" && object.GetAPIVersion() != "" {
		found = append(found, rules.faults(object)...)
	}
	problems := make([]fleet.Problem, 0, len(found))
	for _, f := range found {
		problems = append(problems, fleet.Problem{About: about, Reason: f.reason, Message: f.message})
	}
	slices.SortStableFunc(problems, fleet.Problem.Compare)
	return slices.CompactFunc(problems, func(a, b fleet.Problem) bool { return a.Compare(b) == 0 })
}

type fault struct{ reason, message string }

func faultf(reason, format string, args ...any) fault {
	return fault{reason, fmt.Sprintf(format, args...)}
}

// faults are what is wrong with an object whatever may be placed.
func faults(object *unstructured.Unstructured) []fault {
	var out []fault
	if gv, err := schema.ParseGroupVersion(object.GetAPIVersion()); err != nil || gv.Version == "" {
		out = append(out, faultf(ReasonInvalid, "apiVersion %.64q is none; write one like \"apps/v1\"", object.GetAPIVersion()))
	}
	switch kind, list := object.GetKind(), object.Object["items"] != nil; {
	case kind == "":
		out = append(out, faultf(ReasonInvalid, "kind is missing; write one like \"Deployment\""))
	case strings.HasSuffix(kind, "List") && list:
		out = append(out, faultf(ReasonInvalid, "a %s holds many objects; give each of them by itself", kind))
	}
	out = append(out, metadataFaults(object)...)
	if object.Object["status"] != nil {
		out = append(out, faultf(ReasonServerSet, "status is for clusters to say; remove it"))
	}
	if f, ok := selectorFault(object); ok {
		out = append(out, f)
	}
	text, err := json.Marshal(object.Object)
	switch {
	case err != nil:
		out = append(out, faultf(ReasonInvalid, "it cannot be written as JSON: %s", err))
	case len(text) > MaxBytes:
		out = append(out, faultf(ReasonTooLarge, "it has %d bytes and an API server keeps only some more than %d; split it, or let the pods fetch what is large", len(text), MaxBytes))
	case depthOf(text) > maxDepth:
		out = append(out, faultf(ReasonTooLarge, "it nests deeper than %d; write it flatter", maxDepth))
	}
	return out
}

func metadataFaults(object *unstructured.Unstructured) []fault {
	var out []fault
	meta := mapAt(object.Object, "metadata")
	name := textAt(meta, "name")
	if bad := content.IsPathSegmentName(name); name != "" && (bad != nil || len(name) > 253) {
		out = append(out, faultf(ReasonInvalid, "%.64q can be no object's name; write up to 253 letters, digits, dashes and dots", name))
	}
	switch {
	case textAt(meta, "generateName") != "":
		out = append(out, faultf(ReasonInvalid, "metadata.generateName gives another name in every cluster; write metadata.name"))
	case name == "":
		out = append(out, faultf(ReasonInvalid, "metadata.name is missing; write the name that it shall have in every cluster"))
	}
	for _, field := range serverSet {
		if meta[field] != nil {
			out = append(out, faultf(ReasonServerSet, "metadata.%s is set by the API server of each cluster; remove it", field))
		}
	}
	if meta["finalizers"] != nil {
		out = append(out, faultf(ReasonServerSet, "metadata.finalizers would keep the object in every cluster until somebody there takes them away; remove them"))
	}
	for _, field := range []string{"labels", "annotations"} {
		switch v := meta[field].(type) {
		case nil:
		case map[string]any:
			for _, key := range sortedKeys(v) {
				if _, ok := v[key].(string); !ok {
					out = append(out, faultf(ReasonInvalid, "metadata.%s[%.64s] is no text; put it in quotes", field, key))
				}
				if who := pasted[key]; who != "" {
					out = append(out, faultf(ReasonServerSet, "metadata.%s[%s] is written by %s of each cluster; remove it", field, key, who))
				}
			}
		default:
			out = append(out, faultf(ReasonInvalid, "metadata.%s is no map; write names with values below it", field))
		}
	}
	return out
}

// selectorFault is that of a workload which does not select its own pods. API servers
// refuse it, and an override of labels is how it comes about.
func selectorFault(object *unstructured.Unstructured) (fault, bool) {
	template, ok := ShapeOf(object, Scale{}).PodsAt()
	if !ok || len(template) == 0 {
		return fault{}, false
	}
	selector := mapAt(object.Object, "spec", "selector", "matchLabels")
	if kindOf(object) == kindReplicationController {
		selector = mapAt(object.Object, "spec", "selector")
	}
	has := textsAt(object.Object, mixed(template, "metadata", "labels")...)
	for _, key := range sortedKeys(selector) {
		if want, ok := selector[key].(string); ok && has[key] != want {
			return faultf(ReasonInvalid, "it selects pods with %s=%s and makes them with %s=%s; give %s the label that spec.selector asks for", key, want, key, has[key], dotted(mixed(template, "metadata", "labels"))), true
		}
	}
	return fault{}, false
}

// faults are what speaks against placing an object here.
func (r Rules) faults(object *unstructured.Unstructured) []fault {
	kind, namespace := kindOf(object), object.GetNamespace()
	if what := never[kind]; what != "" {
		return []fault{faultf(ReasonNotAllowed, "%s %s and is not placed; let the clusters make their own", kind.Kind, what)}
	}
	switch kind.Group {
	case ownGroup:
		return []fault{faultf(ReasonNotAllowed, "%s is Meridian's own and belongs into the host cluster alone; apply it there", kind.Kind)}
	case "authentication.k8s.io", "authorization.k8s.io", "metrics.k8s.io":
		return []fault{faultf(ReasonNotAllowed, "%s is a question to one cluster and is not placed; ask the cluster itself", kind.Kind)}
	}
	if why := ownOfCluster(object); why != "" {
		return []fault{{ReasonNotAllowed, why}}
	}
	namespaced, known := r.Kinds[kind]
	switch {
	case r.Kinds == nil:
		namespaced = namespace != ""
	case !known:
		return []fault{faultf(ReasonUnknownKind, "there is no kind %s in %s; correct apiVersion and kind, or install its definition first", kind.Kind, object.GetAPIVersion())}
	}
	var out []fault
	switch {
	case namespaced && namespace == "":
		out = append(out, faultf(ReasonInvalid, "metadata.namespace is missing; write the namespace that it shall lie in in every cluster"))
	case namespaced:
		out = append(out, r.namespace(namespace, "it lies in")...)
	case namespace != "":
		out = append(out, faultf(ReasonInvalid, "%s lies in no namespace; remove metadata.namespace", kind.Kind))
	}
	if !namespaced && !slices.Contains(r.Cluster, kind) {
		out = append(out, faultf(ReasonNotAllowed, "%s holds for a whole cluster, and placing it is not allowed here; ask the operator to allow %s", kind.Kind, kind))
	}
	if kind == (schema.GroupKind{Kind: "Namespace"}) {
		out = append(out, r.namespace(object.GetName(), "it is")...)
	}
	return out
}

func (r Rules) namespace(name, how string) []fault {
	switch {
	case strings.HasPrefix(name, "kube-") && !r.System:
		return []fault{faultf(ReasonNotAllowed, "%s the namespace %s, which belongs to the clusters; choose another, or ask the operator to open kube-* namespaces", how, name)}
	case name == r.Home && name != "":
		return []fault{faultf(ReasonNotAllowed, "%s the namespace %s, which belongs to Meridian; choose another", how, name)}
	}
	return nil
}

// ownOfCluster says why an object is every cluster's own, though its kind is an
// ordinary one; empty: it is not.
func ownOfCluster(object *unstructured.Unstructured) string {
	switch kindOf(object) {
	case kindSecret:
		switch t := textAt(object.Object, "type"); t {
		case "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token":
			return fmt.Sprintf("a Secret of type %s opens the cluster that made it and no other; let each cluster make its own", t)
		}
	case kindConfigMap:
		if slices.Contains(perCluster, object.GetName()) {
			return fmt.Sprintf("the ConfigMap %s is made by every cluster for itself; leave it out", object.GetName())
		}
	}
	return ""
}

// depthOf is how deep a JSON text nests, valid or not.
func depthOf(text []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
