package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/placement"
)

// rendering is what "render" is told.
type rendering struct {
	kube
	kubeContext string
	files       []string
	namespace   string
	cluster     string
}

func newRender(o *options) *cobra.Command {
	r := &rendering{}
	cmd := &cobra.Command{
		Use: "render NAME --cluster CLUSTER", Short: "Print just what one cluster gets of a workload", GroupID: "place", Args: cobra.MaximumNArgs(1),
		Long: `render prints the object that a cluster is given: the template of a FederatedObject with the cluster's
part of the replicas and the overrides that mean it. NAME is the FederatedObject's, "deployment-web", or
KIND/NAME of what it wraps. It is read from the host cluster, or with -f from a file, which may hold
ordinary YAML too: that is taken as "meridian federate" would take it.

How replicas are divided is read from status.clusters. Where that does not speak of the object as it is
now, it is worked out from the Clusters and from what is known to run; which of the two, is said beside the
answer. What only a daemon sees is not in it: how much room there is, orders to drain, and autoscalers that
clusters have of their own. A file that holds Clusters needs no host cluster.

Daemons add the annotations by which they keep their books (meridian.dev/applied, meridian.dev/needed-by).
Nothing is changed anywhere.`,
		Example: `  meridian render deployment-web --cluster eu-1 -n shop --context host
  meridian render deployment/web --cluster eu-1 -o json
  meridian render -f web.yaml --cluster us-1
  cat clusters.yaml web.yaml | meridian render -f - --cluster us-1      # asks no API server`,
		RunE: func(c *cobra.Command, args []string) error { return r.run(c, o, args) },
	}
	r.flags(cmd)
	r.contextFlag(cmd, &r.kubeContext, "context", "context of the host cluster; default: the current one")
	f := cmd.Flags()
	f.StringArrayVarP(&r.files, "filename", "f", nil, "file with the FederatedObject or ordinary objects, and Clusters; or - for what comes in; may be repeated")
	f.StringVarP(&r.namespace, "namespace", "n", "", "namespace of the FederatedObject; default: the context's")
	f.StringVar(&r.cluster, "cluster", "", "the cluster that is asked about (required)")
	_ = cmd.MarkFlagRequired("cluster")
	cmd.ValidArgsFunction = r.workloadNames(&r.kubeContext, &r.namespace)
	_ = cmd.RegisterFlagCompletionFunc("cluster", func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return r.members(&r.kubeContext)(c, nil, typed)
	})
	return cmd
}

func (r *rendering) run(c *cobra.Command, o *options, args []string) error {
	note := notes(c)
	w, clusters, err := r.find(c, args)
	if err != nil {
		return err
	}
	cluster, ok := named(clusters, r.cluster)
	if !ok {
		return fmt.Errorf("there is no Cluster %s; there is %s", printable(r.cluster), names(clusters))
	}
	if w.object.DeletionTimestamp != nil {
		note("%s is being deleted, so the clusters lose what they are given", w)
	}
	for _, remark := range w.remarks {
		note("%s: %s", w, remark)
	}
	d := w.division(clusters, time.Now())
	for _, p := range d.problems {
		note("%s: %s", w, p.Message)
	}
	p := d.portion(r.cluster)
	if !p.Gets {
		return fmt.Errorf("%s is given nothing of %s (%s): %s", r.cluster, w, d.from, strings.Join(p.Reasons, "; "))
	}
	object, err := w.render(cluster, p)
	if err != nil {
		return err
	}
	note("%s: %s%s: %s", r.cluster, amount(p), d.from, strings.Join(p.Reasons, "; "))
	if w.template.Follow {
		for _, ref := range placement.Follow(object) {
			note("%s %s/%s of the host cluster goes along.", ref.Kind, ref.Namespace, ref.Name)
		}
	}
	return printObject(c, o.output, object)
}

// find reads the workload that is meant, and the clusters that there are.
func (r *rendering) find(c *cobra.Command, args []string) (*workload, []placement.Cluster, error) {
	note := notes(c)
	var name string
	if len(args) > 0 {
		name = workloadName(args[0])
	}
	if len(r.files) == 0 {
		if name == "" {
			return nil, nil, fmt.Errorf("name a FederatedObject of the host cluster, or a file with -f; see %s --help", c.CommandPath())
		}
		host, namespace, err := r.host(r.kubeContext, r.namespace)
		if err != nil {
			return nil, nil, err
		}
		object, err := install.Federated(c.Context(), host, namespace, name)
		if err != nil {
			return nil, nil, err
		}
		if object == nil {
			return nil, nil, install.NoWorkload(host, namespace, name)
		}
		w, err := readWorkload(object, namespace)
		if err != nil {
			return nil, nil, err
		}
		list, err := host.Clusters(c.Context())
		return w, members(list, note), err
	}
	objects, err := readFiles(c, r.files)
	if err != nil {
		return nil, nil, err
	}
	list, federated, ordinary := apart(objects)
	if len(ordinary) > 0 {
		g := federating{namespace: r.namespace}
		more, err := g.federated(c, ordinary)
		if err != nil {
			return nil, nil, err
		}
		federated = append(federated, more...)
	}
	one, err := theOne(federated, r.namespace, name)
	if err != nil {
		return nil, nil, err
	}
	namespace := r.namespace
	if len(list) == 0 || namespace == "" {
		host, in, err := r.host(r.kubeContext, r.namespace)
		if namespace = in; len(list) == 0 {
			if err != nil {
				return nil, nil, fmt.Errorf("-f holds no Clusters, so the host cluster is asked for them: %w", err)
			}
			if list, err = host.Clusters(c.Context()); err != nil {
				return nil, nil, err
			}
		}
		if namespace == "" {
			namespace = "default"
		}
	}
	w, err := readWorkload(one, namespace)
	return w, members(list, note), err
}

// theOne is the FederatedObject of a file that is meant.
func theOne(federated []*unstructured.Unstructured, namespace, name string) (*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	var there []string
	for _, o := range federated {
		there = append(there, called(o))
		in := namespace == "" || o.GetNamespace() == "" || o.GetNamespace() == namespace
		if in && (name == "" || o.GetName() == name) {
			found = append(found, o)
		}
	}
	switch {
	case len(federated) == 0:
		return nil, errors.New("-f holds no FederatedObject and nothing that could become one; name a file that does")
	case len(found) == 0:
		return nil, fmt.Errorf("-f holds no such FederatedObject; it holds %s", strings.Join(there, ", "))
	case len(found) > 1:
		return nil, fmt.Errorf("-f holds several FederatedObjects; name one of them, and its namespace with -n if need be: %s", strings.Join(there, ", "))
	}
	return found[0], nil
}

func named(clusters []placement.Cluster, name string) (placement.Cluster, bool) {
	for _, c := range clusters {
		if c.Name == name {
			return c, true
		}
	}
	return placement.Cluster{}, false
}

func names(clusters []placement.Cluster) string {
	list := make([]string, 0, len(clusters))
	for _, c := range clusters {
		list = append(list, c.Name)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// amount says how much a cluster gets, if that can be counted.
func amount(p placement.Portion) string {
	switch {
	case !p.Gets || p.Replicas == placement.NotReplicas:
		return ""
	case p.Replicas == 1:
		return "1 replica, "
	}
	return fmt.Sprintf("%d replicas, ", p.Replicas)
}

// printObject writes one object as kubectl does.
func printObject(c *cobra.Command, f format, object *unstructured.Unstructured) error {
	var text []byte
	var err error
	if f == formatJSON {
		if text, err = json.MarshalIndent(object.Object, "", "    "); err == nil {
			text = append(text, '\n')
		}
	} else {
		text, err = yaml.Marshal(object.Object)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", called(object), err)
	}
	_, err = c.OutOrStdout().Write(text)
	return err
}
