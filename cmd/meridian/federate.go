package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/placement"
)

// federating is what "federate" is told.
type federating struct {
	kube
	kubeContext   string
	files         []string
	namespace     string // empty: whatever objects say
	strict        bool   // they must not say another one
	replicas      int64
	apply         bool
	clusterScoped bool
	wishes        wishes
}

func newFederate(o *options) *cobra.Command {
	g := &federating{}
	cmd := &cobra.Command{
		Use: "federate -f FILE", Short: "Turn ordinary YAML into objects that are placed in many clusters", GroupID: "place", Args: cobra.NoArgs,
		Long: `federate reads ordinary objects and prints each as a FederatedObject, which says in which clusters
it is to be, and with how many replicas in each. What a server has put into an object is taken out,
and said. With --apply they go to the host cluster. "meridian unfederate" turns them back.

A FederatedObject is called like its object, kind first and in small letters: deployment-web. Its
namespace is the object's. Terms about replicas hold for objects that have some: those of Deployments,
Jobs and the like are divided by weight, StatefulSets on request (--mode divide); DaemonSets and
everything else are the same in every cluster. Without --weight, --min and --max all clusters are
equal; with them, a cluster that is not named gets no replicas unless "*" is.`,
		Example: `  meridian federate -f deploy.yaml
  meridian federate -f deploy.yaml --where regions=eu,us --replicas 1000 --apply --context host
  meridian federate -f deploy.yaml --weight eu-1=3 --weight '*=1' --max us-1=200
  meridian federate -f deploy.yaml --where 'tier=gold,cloud in (aws,gcp)' --follow
  kubectl get deployment,service web -o yaml | meridian federate -f - > web.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return g.run(c, o) },
	}
	g.flags(cmd)
	g.contextFlag(cmd, &g.kubeContext, "context", "with --apply: context of the host cluster; default: the current one")
	g.objectFlags(cmd)
	cmd.Flags().BoolVar(&g.apply, "apply", false, "send them to the host cluster; default: print them")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

// objectFlags are those that say which objects, and by which terms.
func (g *federating) objectFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&g.files, "filename", "f", nil, "file with objects, or - for what comes in; may be repeated (required)")
	f.StringVarP(&g.namespace, "namespace", "n", "", "namespace of objects that name none")
	f.Int64Var(&g.replicas, "replicas", 0, "replicas over all clusters together, in place of what the object says")
	f.BoolVar(&g.clusterScoped, "cluster-scoped", false, "take objects that have no namespace too, like ClusterRoles; the host has to allow them")
	g.wishes.flags(cmd)
}

func (g *federating) run(c *cobra.Command, o *options) error {
	if g.apply && o.output != "" && o.output != formatTable {
		return fmt.Errorf("-o %s prints objects, and --apply sends them; leave one of the two out", o.output)
	}
	g.strict = g.namespace != ""
	objects, err := readFiles(c, g.files)
	if err != nil {
		return err
	}
	if g.apply && g.namespace == "" {
		if g.namespace, err = install.ContextNamespace(g.kubeconfig, g.kubeContext); err != nil {
			return err
		}
	}
	federated, err := g.federated(c, objects)
	if err != nil {
		return err
	}
	if !g.apply {
		return printObjects(c.OutOrStdout(), o.output, federated)
	}
	return g.send(c, federated)
}

// federated turns ordinary objects into FederatedObjects, and says what it takes out of
// them and what has no effect.
func (g *federating) federated(c *cobra.Command, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	terms, err := g.wishes.terms()
	if err != nil {
		return nil, err
	}
	note := func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	if objects, err = g.clean(objects, note); err != nil {
		return nil, err
	}
	if err := g.scale(objects, c.Flags().Changed("replicas"), note); err != nil {
		return nil, err
	}
	if terms.Spread != nil && !slices.ContainsFunc(objects, placement.MayDivide) {
		return nil, errors.New("--mode, --weight, --min, --max and --rebalance divide replicas, and nothing here has any that can be divided; leave them out, and choose the clusters with --where")
	}
	return federateAll(objects, terms, note)
}

// readFiles reads what -f names, in its order.
func readFiles(c *cobra.Command, files []string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, name := range files {
		list, err := readFile(c, name)
		if err != nil {
			return nil, fmt.Errorf("-f %s: %w", name, err)
		}
		all = append(all, list...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("-f %s holds no objects; name a file that does", strings.Join(files, ", "))
	}
	return all, nil
}

func readFile(c *cobra.Command, name string) ([]*unstructured.Unstructured, error) {
	if name == "-" {
		return install.ReadObjects(c.InOrStdin())
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return install.ReadObjects(file)
}

// clean takes out what belongs to the cluster that objects come from, and says what.
func (g *federating) clean(objects []*unstructured.Unstructured, note func(string, ...any)) ([]*unstructured.Unstructured, error) {
	var list []*unstructured.Unstructured
	for _, o := range objects {
		about := called(o)
		if why := v1alpha1.Bound(o); why != "" {
			note("%s is left out: %s.", about, why)
			continue
		}
		clean, removed := v1alpha1.Clean(o)
		if len(removed) > 0 {
			note("%s: removed what a server had set: %s.", about, strings.Join(removed, ", "))
		}
		switch ns := clean.GetNamespace(); {
		case placement.ClusterScoped(clean.GroupVersionKind().Group, clean.GetKind()):
			if !g.clusterScoped {
				return nil, fmt.Errorf("%s has no namespace, so it would change whole clusters; take it out, or add --cluster-scoped if the host cluster allows it", about)
			}
		case g.namespace != "" && ns == "":
			clean.SetNamespace(g.namespace)
		case g.strict && ns != g.namespace:
			return nil, fmt.Errorf("%s lies in namespace %s and not in %s; leave --namespace out, or correct the file", about, ns, g.namespace)
		}
		if clean.GetKind() == "Secret" && clean.GetAPIVersion() == "v1" {
			note("%s: whoever may read FederatedObjects of its namespace can read it; a workload that names it takes it along with --follow.", about)
		}
		list = append(list, clean)
	}
	if len(list) == 0 {
		return nil, errors.New("nothing is left that could be in many clusters; name a file with workloads")
	}
	return list, nil
}

// scale writes --replicas into the one object that has replicas.
func (g *federating) scale(objects []*unstructured.Unstructured, asked bool, note func(string, ...any)) error {
	if !asked {
		return nil
	}
	if g.replicas < 0 || g.replicas > 1_000_000 {
		return fmt.Errorf("--replicas %d lies outside 0 to 1000000; write a number in between", g.replicas)
	}
	var scaled []*unstructured.Unstructured
	var names []string
	for _, o := range objects {
		if placement.Divisible(o) && o.GetKind() != "Job" && o.GetKind() != "HorizontalPodAutoscaler" {
			scaled, names = append(scaled, o), append(names, called(o))
		}
	}
	switch len(scaled) {
	case 0:
		return errors.New("--replicas: nothing here has replicas (a DaemonSet has a pod on every node, a Job parallelism and completions, an autoscaler its own bounds); leave --replicas out, or write those numbers into the file")
	case 1:
	default:
		return fmt.Errorf("--replicas: %s have replicas; give them one by one, or write the numbers into the file", strings.Join(names, " and "))
	}
	if err := unstructured.SetNestedField(scaled[0].Object, g.replicas, "spec", "replicas"); err != nil {
		return fmt.Errorf("%s has no spec; write one: %w", names[0], err)
	}
	if mode := placement.Mode(g.wishes.mode); mode == placement.ModeDuplicate || mode == "" && placement.DefaultMode(scaled[0]) == placement.ModeDuplicate {
		note("%s: %d replicas in each cluster, since it is duplicated; --mode divide divides them.", names[0], g.replicas)
	}
	return nil
}

// federateAll wraps every object; two may not get the same name.
func federateAll(objects []*unstructured.Unstructured, terms v1alpha1.Terms, note func(string, ...any)) ([]*unstructured.Unstructured, error) {
	first := map[string]string{}
	var list []*unstructured.Unstructured
	meant := slices.ContainsFunc(objects, placement.Divisible) // the spread is about these; otherwise about those of which clusters say
	for _, o := range objects {
		terms := terms
		if meant && !placement.Divisible(o) {
			terms.Spread = nil
		}
		out, remarks, err := v1alpha1.Federate(o, terms)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", called(o), err)
		}
		for _, r := range remarks {
			note("%s: %s.", called(o), r)
		}
		key := out.GetNamespace() + "/" + out.GetName()
		if other, twice := first[key]; twice {
			return nil, fmt.Errorf("%s and %s would both be FederatedObject %s; federate them one by one and rename one", other, called(o), out.GetName())
		}
		first[key] = called(o)
		list = append(list, out)
	}
	return list, nil
}

// send applies them to the host cluster.
func (g *federating) send(c *cobra.Command, federated []*unstructured.Unstructured) error {
	host, err := install.Open(g.kubeconfig, g.kubeContext)
	if err != nil {
		return err
	}
	for _, o := range federated {
		if o.GetNamespace() == "" { // what it wraps has none
			o.SetNamespace(g.namespace)
		}
	}
	did, err := install.Federate(c.Context(), host, federated, g.progress(c))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", host.Name, did)
	return nil
}

// called is how people are told of an object.
func called(o *unstructured.Unstructured) string {
	name := o.GetName()
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	return fmt.Sprintf("%s %s", printable(o.GetKind()), printable(name))
}

// printable keeps what a stranger wrote from steering a terminal.
func printable(s string) string {
	if len(s) > 256 {
		s = s[:256] + "..."
	}
	q := fmt.Sprintf("%q", s)
	if q[1:len(q)-1] == s {
		return s
	}
	return q
}

// printObjects writes objects so that kubectl takes them.
func printObjects(w io.Writer, f format, objects []*unstructured.Unstructured) error {
	if f == formatJSON {
		return install.WriteJSON(w, []install.Part{{Objects: objects}})
	}
	var b bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("writing %s: %w", called(o), err)
		}
		b.Write(text)
	}
	_, err := w.Write(b.Bytes())
	return err
}
