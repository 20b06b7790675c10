package install

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Checking says what is looked at.
type Checking struct {
	Namespace string    // of the installation; empty means meridian-system
	Now       time.Time // zero means the clock's
	// Lookup asks the world's DNS for a zone's name servers; nil: it is not asked.
	Lookup func(ctx context.Context, domain string) ([]*net.NS, error)
}

// check looks at one installation.
type check struct {
	Checking
	host     *Reach
	report   *Report
	helm     bool // helm installed it, and keeps it
	follower bool // its daemons follow the host cluster's, and look at no objects here
	api      bool // it has a dedicated API, in which everything lies that people write
	inAPI    bool // this is the dedicated API
}

// Check looks at an installation. The error says why nothing could be looked at;
// what is wrong stands in the report.
func Check(ctx context.Context, host *Reach, c Checking) (*Report, error) {
	c.Namespace = cmp.Or(c.Namespace, Namespace)
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	if err := host.version(); err != nil {
		return nil, err
	}
	k := &check{Checking: c, host: host, report: &Report{}}
	if _, err := host.kube.CoreV1().Namespaces().Get(ctx, c.Namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		k.report.add(Fault, "Namespace "+c.Namespace, "it is not there: nothing is installed here", fmt.Sprintf("meridian init --context %s --region REGION, or choose the host cluster with --context", host.Name))
		return k.report, nil
	}
	set, err := host.kube.AppsV1().StatefulSets(c.Namespace).Get(ctx, daemonAccount, metav1.GetOptions{})
	k.helm = err == nil && set.Labels[labelManagedBy] == "Helm"
	k.follower = err == nil && follows(set)
	k.inAPI = host.dedicated(ctx, c.Namespace)
	_, noAPI := host.kube.AppsV1().StatefulSets(c.Namespace).Get(ctx, apiName, metav1.GetOptions{})
	k.api = noAPI == nil
	if found, e := host.existing(ctx, c.Namespace, SecretRecord, SecretAuthority, SecretControl, SecretGateway); !k.inAPI && apierrors.IsNotFound(err) && e == nil && len(found) == 0 {
		k.report.add(Fault, "Namespace "+c.Namespace, "nothing is installed in it", k.again()+" --region REGION, or choose the host cluster with --context")
		return k.report, nil
	}
	crds, policies := part{"the CRDs", k.crds}, part{"the policies that say who may federate what", k.policies}
	objects, members := part{"the objects that people wrote", k.objects}, part{"the credentials of members", k.members}
	running := []part{{"daemons and gateways", k.workloads}, {"the Services", k.services}, {"the certificates", k.identities}}
	switch {
	case k.inAPI:
		return k.look(ctx, crds, policies, objects, members)
	case k.api:
		k.report.add(Note, "Dedicated API", "Clusters, Zones and all that people write lie in it and were not looked at", "meridian check --context "+contextName)
		return k.look(ctx, running...)
	}
	return k.look(ctx, append(append([]part{crds, policies}, running...), objects, members)...)
}

// part is something that is looked at.
type part struct {
	what string // "they were not looked at"
	look func(context.Context) error
}

func (k *check) look(ctx context.Context, parts ...part) (*Report, error) {
	for _, part := range parts {
		err := part.look(ctx)
		if apierrors.IsForbidden(err) { // the rest may be seen
			k.report.add(Fault, "Your rights", part.what+" were not looked at: "+err.Error(), "run it again with a context of an administrator, or let one grant it")
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	k.report.sort()
	return k.report, nil
}

// again is the command that puts right what is missing or old.
func (k *check) again() string {
	if k.inAPI {
		return "see, in the cluster that it runs in, why it is not furnished: kubectl -n " + k.Namespace + " logs " + apiName + "-0 -c furnish"
	}
	if k.helm {
		return "helm -n " + k.Namespace + " upgrade meridian CHART --reuse-values"
	}
	return "meridian init --context " + k.host.Name
}

// crds looks whether the kinds are those that this program knows.
func (k *check) crds(ctx context.Context) error {
	objects, err := Render(k.Namespace, map[string]any{"region": "any"})
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		about := name(o)
		live, err := k.host.dynamic.Resource(crds).Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			k.report.add(Fault, about, "it is not there", k.again())
		case err != nil:
			return k.host.explain("reading "+about, err)
		case condition(live, "Established") != "True":
			k.report.add(Fault, about, "the API server does not serve it", "kubectl --context "+k.host.Name+" describe crd "+o.GetName())
		case !within(o.Object["spec"], live.Object["spec"]):
			k.report.add(Fault, about, "it is of another version than this program", k.again()+", which upgrades; or use the program that belongs to the installed version")
		default:
			k.report.add(Fine, about, "served, and of this version", "")
		}
	}
	return nil
}

// within reports whether everything that want says is so in have, which may say
// more: servers fill defaults in. Lists have to be equally long.
func within(want, have any) bool {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return len(w) == 0 && have == nil
		}
		for key, v := range w {
			if !within(v, h[key]) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return false
		}
		for i := range w {
			if !within(w[i], h[i]) {
				return false
			}
		}
		return true
	}
	return fmt.Sprint(want) == fmt.Sprint(have)
}

// ours are the kinds that people write, by resource.
var ours = map[string]string{
	"clusters": v1alpha1.KindCluster, "federatedobjects": v1alpha1.KindFederatedObject, "placements": v1alpha1.KindPlacement,
	"trafficpolicies": v1alpha1.KindTrafficPolicy, "zones": v1alpha1.KindZone,
}

// objects looks at what Meridian says of the objects that people wrote.
func (k *check) objects(ctx context.Context) error {
	for resource, kind := range ours {
		list, err := k.host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource(resource)).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue // its CRD is missing, which is said already
		}
		if err != nil {
			return k.host.explain("listing "+resource, err)
		}
		if k.follower {
			if len(list.Items) > 0 {
				k.report.add(Note, plural(kind)+"."+v1alpha1.Group, fmt.Sprintf("%d are here, and nobody looks at them: these daemons follow those of the host cluster", len(list.Items)), "write them in the host cluster, and delete them here")
			}
			continue
		}
		if kind == v1alpha1.KindCluster && len(list.Items) == 0 {
			k.report.add(Note, "Clusters", "no cluster has joined yet, so there is nothing to serve", "meridian join NAME --context CONTEXT --host-context "+k.host.Name)
		}
		for i := range list.Items {
			k.conditions(&list.Items[i], kind)
			if kind == v1alpha1.KindZone {
				k.delegated(ctx, &list.Items[i])
			}
		}
	}
	return nil
}

// slow is how long the daemons may take to say something of a new object.
const slow = time.Minute

// conditions reads what is said of one object.
func (k *check) conditions(o *unstructured.Unstructured, kind string) {
	o.SetKind(kind)
	about := name(o)
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	accepted, faults := "", 0
	for _, c := range list {
		m, ok := c.(map[string]any)
		if !ok {
			continue
		}
		of, status := text(m, "type"), text(m, "status")
		if of == v1alpha1.ConditionAccepted || of == v1alpha1.ConditionPlaced {
			accepted = cmp.Or(accepted, status)
		}
		if (status == "False") != (of == v1alpha1.ConditionConflict) && status != "Unknown" {
			faults++
			k.report.add(Fault, about, fmt.Sprintf("%s is %s (%s): %s", of, status, text(m, "reason"), text(m, "message")), fmt.Sprintf("kubectl --context %s describe %s.%s %s", k.host.Name, plural(kind), v1alpha1.Group, flags(o)))
		}
	}
	if health, _, _ := unstructured.NestedString(o.Object, "status", "health"); health == v1alpha1.HealthStale {
		faults++
		last, _, _ := unstructured.NestedString(o.Object, "status", "lastSeen")
		k.report.add(Fault, about, fmt.Sprintf("its API server has not answered since %s; what it said last stays in force", cmp.Or(last, "the daemons started")),
			fmt.Sprintf("see whether it runs and whether the host reaches it; if its address or credentials have changed: meridian join %s --context CONTEXT --host-context %s", o.GetName(), k.host.Name))
	}
	seen, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	old := k.Now.Sub(o.GetCreationTimestamp().Time) > slow
	switch {
	case faults > 0:
	case accepted == "" && old:
		k.report.add(Fault, about, "no daemon has looked at it", fmt.Sprintf("kubectl --context %s -n %s logs statefulset/meridiand", k.host.Name, k.Namespace))
	case accepted == "":
		k.report.add(Note, about, "no daemon has looked at it yet", "wait a minute")
	case seen != 0 && seen < o.GetGeneration():
		k.report.add(Note, about, "what is said of it is about an older version of it", fmt.Sprintf("kubectl --context %s -n %s logs statefulset/meridiand, if it stays so", k.host.Name, k.Namespace))
	default:
		k.report.add(Fine, about, "accepted", "")
	}
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func plural(kind string) string {
	for resource, k := range ours {
		if k == kind {
			return resource
		}
	}
	return strings.ToLower(kind)
}

// flags name an object on kubectl's command line.
func flags(o *unstructured.Unstructured) string {
	if o.GetNamespace() != "" {
		return "-n " + o.GetNamespace() + " " + o.GetName()
	}
	return o.GetName()
}

// list reads objects of one kind in the installation's namespace.
func (k *check) list(ctx context.Context, resource schema.GroupVersionResource) ([]unstructured.Unstructured, error) {
	l, err := k.host.dynamic.Resource(resource).Namespace(k.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager})
	if err != nil {
		return nil, k.host.explain("listing "+resource.Resource, err)
	}
	return l.Items, nil
}
