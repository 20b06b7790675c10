package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/placement"
)

// workload is a FederatedObject that can be carried out.
type workload struct {
	object   *v1alpha1.FederatedObject
	template placement.Template
	remarks  []string // what of it has no effect
}

// readWorkload reads a FederatedObject as daemons do. The error names every fault.
func readWorkload(o *unstructured.Unstructured, namespace string) (*workload, error) {
	if gvk := o.GroupVersionKind(); gvk.Group != v1alpha1.Group || gvk.Kind != v1alpha1.KindFederatedObject {
		return nil, fmt.Errorf("%s is no FederatedObject; \"meridian federate\" makes one of it", called(o))
	}
	w := &workload{object: &v1alpha1.FederatedObject{}}
	if err := retype(o, w.object); err != nil {
		return nil, fmt.Errorf("%s cannot be read; correct it: %w", called(o), err)
	}
	w.object.Namespace = cmp.Or(w.object.Namespace, namespace)
	origin := fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: v1alpha1.KindFederatedObject, Namespace: w.object.Namespace, Name: w.object.Name, Generation: w.object.Generation}
	t, problems := w.object.Parse(origin)
	if t == nil {
		return nil, fmt.Errorf("%s: %s", w, sentences(problems))
	}
	for _, p := range problems {
		w.remarks = append(w.remarks, p.Message)
	}
	if problems := placement.Check(t.Object, placement.Rules{Home: v1alpha1.HostNamespace}, origin); len(problems) > 0 {
		return nil, fmt.Errorf("%s: %s", w, sentences(problems))
	}
	w.template = *t
	return w, nil
}

// retype reads an untyped object into its type.
func retype(o *unstructured.Unstructured, into any) error {
	raw, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func (w *workload) String() string {
	return v1alpha1.KindFederatedObject + " " + printable(w.object.Namespace) + "/" + printable(w.object.Name)
}

// sentences are problems in one line, each once.
func sentences(problems []fleet.Problem) string {
	var list []string
	for _, p := range problems {
		if !slices.Contains(list, p.Message) {
			list = append(list, p.Message)
		}
	}
	return strings.Join(list, "; ")
}

// looked reports whether a daemon has written what became of the object as it is now.
func (w *workload) looked() bool {
	return len(w.object.Status.Clusters) > 0 && w.object.Status.ObservedGeneration == w.object.Generation
}

// division is what each cluster gets of a workload.
type division struct {
	portions []placement.Portion // sorted by cluster
	unplaced int64
	from     string // where that is known from
	problems []fleet.Problem
}

// portion is one cluster's; one that is not named gets nothing.
func (d division) portion(cluster string) placement.Portion {
	i := slices.IndexFunc(d.portions, func(p placement.Portion) bool { return p.Cluster == cluster })
	if i < 0 {
		return placement.Portion{Choice: placement.Choice{Cluster: cluster}, Replicas: placement.NotReplicas, Reasons: []string{"its status does not name the cluster"}}
	}
	return d.portions[i]
}

// division is how a workload is divided: as its status says, else as it would be.
func (w *workload) division(clusters []placement.Cluster, now time.Time) division {
	known := w.object.Known()
	if !w.looked() {
		return w.foreseen(clusters, known, now)
	}
	d := division{from: "as its status has it"}
	choices, problems := placement.Choose(w.template, clusters)
	d.problems = problems
	d.portions = placement.Placed(w.template, clusters, known, now)
	for i := range d.portions {
		p := &d.portions[i]
		at := slices.IndexFunc(w.object.Status.Clusters, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == p.Cluster })
		if at >= 0 {
			p.Reasons = []string{strings.TrimSuffix(string(w.object.Status.Clusters[at].State)+": "+w.object.Status.Clusters[at].Message, ": ")}
		}
	}
	for _, c := range choices {
		if c.Why != "" && !slices.ContainsFunc(d.portions, func(p placement.Portion) bool { return p.Cluster == c.Cluster }) {
			d.portions = append(d.portions, placement.Portion{Choice: c, Replicas: placement.NotReplicas, Reasons: []string{c.Why}})
		}
	}
	slices.SortFunc(d.portions, func(a, b placement.Portion) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return d
}

// foreseen is how it would be divided, as far as that can be known here.
func (w *workload) foreseen(clusters []placement.Cluster, known placement.Known, now time.Time) division {
	d := division{from: "as it would be divided, since its status does not speak of it as it is now"}
	if w.object.Status.ObservedGeneration == 0 {
		d.from = "as it would be divided, since no daemon has looked at it"
	}
	d.portions, d.unplaced, d.problems = placement.Foresee(w.template, clusters, known, now)
	return d
}

// owner is who is written on what clusters get.
func (w *workload) owner() placement.Owner {
	return placement.Owner{UID: w.object.UID, Kind: v1alpha1.KindFederatedObject, Namespace: w.object.Namespace, Name: w.object.Name}
}

// render is just what a cluster is given; nil: nothing.
func (w *workload) render(c placement.Cluster, p placement.Portion) (*unstructured.Unstructured, error) {
	if !p.Gets {
		return nil, nil
	}
	object, problems := placement.Render(w.template, c, p.Given, w.owner())
	if object == nil {
		return nil, fmt.Errorf("%s %s", w, sentences(problems))
	}
	return object, nil
}

// members reads Cluster objects. One that is at fault is left out, and said.
func members(objects []*unstructured.Unstructured, note func(string, ...any)) []placement.Cluster {
	var list []placement.Cluster
	for _, o := range objects {
		var c v1alpha1.Cluster
		if err := retype(o, &c); err != nil {
			note("%s cannot be read and is left out: %s", called(o), err)
			continue
		}
		parsed, problems := c.Parse(fleet.Origin{Kind: v1alpha1.KindCluster, Name: c.Name})
		if parsed == nil {
			note("%s is at fault and is left out: %s", called(o), sentences(problems))
			continue
		}
		list = append(list, placement.ClusterOf(parsed, ""))
	}
	slices.SortFunc(list, func(a, b placement.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// notes writes beside the answer, so that the answer may go into a file.
func notes(c *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
}

// apart separates what files hold: Clusters, FederatedObjects and ordinary objects.
func apart(objects []*unstructured.Unstructured) (clusters, federated, ordinary []*unstructured.Unstructured) {
	for _, o := range objects {
		switch gvk := o.GroupVersionKind(); {
		case gvk.Group == v1alpha1.Group && gvk.Kind == v1alpha1.KindCluster:
			clusters = append(clusters, o)
		case gvk.Group == v1alpha1.Group && gvk.Kind == v1alpha1.KindFederatedObject:
			federated = append(federated, o)
		default:
			ordinary = append(ordinary, o)
		}
	}
	return clusters, federated, ordinary
}

// workloadName is the name of the FederatedObject that somebody means by KIND/NAME,
// or by its own name.
func workloadName(arg string) string {
	if kind, name, ok := strings.Cut(arg, "/"); ok && kind != "" && name != "" {
		return v1alpha1.FederatedName(kind, name)
	}
	return arg
}

// workloadNames completes the names of FederatedObjects of the host cluster.
func (k *kube) workloadNames(hostContext, namespace *string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		host, in, err := k.host(*hostContext, *namespace)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completing)
		defer cancel()
		names, _ := install.FederatedNames(ctx, host, in) // a shell has no place for errors
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// host opens the host cluster and says in which namespace somebody works there.
func (k *kube) host(hostContext, namespace string) (*install.Reach, string, error) {
	host, err := install.Open(k.kubeconfig, hostContext)
	if err != nil || namespace != "" {
		return host, namespace, err
	}
	namespace, err = install.ContextNamespace(k.kubeconfig, hostContext)
	return host, namespace, err
}
