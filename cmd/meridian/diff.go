package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/placement"
)

// Exit codes of diff, which are kubectl's.
const (
	exitChanges = 1
	exitTrouble = 2
)

// diffing is what "diff" is told.
type diffing struct {
	federating // for ordinary objects
}

func newDiff(o *options) *cobra.Command {
	d := &diffing{}
	trouble := func(err error) error {
		var e exit
		if err == nil || errors.As(err, &e) {
			return err
		}
		return exit{exitTrouble, err}
	}
	cmd := &cobra.Command{
		Use: "diff -f FILE", Short: "Say what a file would change in which cluster", GroupID: "place",
		Long: `diff compares what each cluster is given of a workload now, by the FederatedObject in the host cluster,
with what it would be given by the one in the file: how replicas are divided before and after, and a
unified diff for every cluster that would see a change. Ordinary YAML is taken as "meridian federate"
would take it, with the same flags. Nothing is changed anywhere, and members are not asked: drift in
them is the daemons' to mend.

Where replicas belong is worked out as "meridian render" does. What a Secret holds is not shown, only
whether it changes.

The exit code is 0 when nothing would change, 1 when something would, and 2 when it cannot be said.`,
		Example: `  meridian diff -f web.yaml --context host
  meridian diff -f deploy.yaml --where regions=eu,us --replicas 1000
  meridian diff -f web.yaml || [ $? -eq 1 ] && kubectl apply -f web.yaml`,
		Args: func(c *cobra.Command, args []string) error { return trouble(cobra.NoArgs(c, args)) },
		RunE: func(c *cobra.Command, _ []string) error { return trouble(d.run(c, o)) },
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exit{exitTrouble, fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	d.flags(cmd)
	d.contextFlag(cmd, &d.kubeContext, "context", "context of the host cluster; default: the current one")
	d.objectFlags(cmd)
	return cmd
}

func (d *diffing) run(c *cobra.Command, o *options) error {
	switch {
	case len(d.files) == 0:
		return errors.New("name a file with -f, or - for what comes in")
	case o.output != "" && o.output != formatTable:
		return fmt.Errorf("-o %s is for objects, and this prints what differs; leave it out", o.output)
	}
	d.strict = d.namespace != ""
	host, namespace, err := d.host(d.kubeContext, d.namespace)
	if err != nil {
		return err
	}
	d.namespace = namespace
	objects, err := readFiles(c, d.files)
	if err != nil {
		return err
	}
	_, federated, ordinary := apart(objects)
	if len(ordinary) > 0 {
		more, err := d.federated(c, ordinary)
		if err != nil {
			return err
		}
		federated = append(federated, more...)
	} else if flag := d.idle(c); flag != "" {
		return fmt.Errorf("--%s says how ordinary objects are federated, and the file holds FederatedObjects; write it into these", flag)
	}
	list, err := host.Clusters(c.Context())
	if err != nil {
		return err
	}
	clusters := members(list, notes(c))
	changed := false
	for _, object := range federated {
		change, err := compare(c, host, object, namespace, clusters)
		if err != nil {
			return err
		}
		if change.any() {
			changed = true
			if err := change.print(c.OutOrStdout()); err != nil {
				return err
			}
		}
	}
	if changed {
		return exit{code: exitChanges}
	}
	return nil
}

// idle is a flag that has no effect on FederatedObjects; empty: none was given.
func (d *diffing) idle(c *cobra.Command) string {
	for _, name := range []string{"where", "mode", "weight", "min", "max", "rebalance", "grace", "follow", "adopt", "orphan", "replicas", "cluster-scoped"} {
		if c.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// change is what a file would change of one workload.
type change struct {
	name     string
	terms    []string // of its terms, for people
	clusters []clusterChange
	unplaced [2]int64 // before and after
}

// clusterChange is what it would change in one cluster.
type clusterChange struct {
	cluster       string
	before, after placement.Portion
	diff          string // empty: the cluster is given the same
}

func (x change) any() bool {
	return len(x.terms) > 0 || slices.ContainsFunc(x.clusters, func(c clusterChange) bool { return c.diff != "" })
}

// compare finds out what a FederatedObject of a file would change.
func compare(c *cobra.Command, host *install.Reach, object *unstructured.Unstructured, namespace string, clusters []placement.Cluster) (*change, error) {
	note, now := notes(c), time.Now()
	after, err := readWorkload(object, namespace)
	if err != nil {
		return nil, err
	}
	for _, r := range after.remarks {
		note("%s: %s", after, r)
	}
	before, err := live(c, host, after, note)
	if err != nil {
		return nil, err
	}
	x := &change{name: after.String()}
	var was, will division
	if before != nil {
		if is, was := called(after.template.Object), called(before.template.Object); is != was {
			return nil, fmt.Errorf("%s places %s and cannot come to place %s; write a FederatedObject of another name, and delete this one when that one is placed", after, was, is)
		}
		after.object.UID = before.object.UID
		if before.object.DeletionTimestamp != nil {
			note("%s is being deleted, so the clusters lose what it says they are given now", before)
		}
		was = before.division(clusters, now)
		x.terms = termChanges(before.template, after.template)
		if will = was; !sameDivision(before.template, after.template) {
			will = after.foreseen(clusters, before.object.Known(), now)
		}
	} else {
		will = after.foreseen(clusters, placement.Known{}, now)
		x.terms = []string{"it is new"}
	}
	for _, p := range will.problems {
		note("%s: %s", after, p.Message)
	}
	x.unplaced = [2]int64{was.unplaced, will.unplaced}
	for _, cluster := range clusters {
		one := clusterChange{cluster: cluster.Name, before: was.portion(cluster.Name), after: will.portion(cluster.Name)}
		var old *unstructured.Unstructured
		if before != nil {
			if old, err = before.render(cluster, one.before); err != nil {
				note("%s; so the diff there shows all of it as new", err)
			}
		}
		wanted, err := after.render(cluster, one.after)
		if err != nil {
			return nil, err
		}
		if one.diff, err = unified(after.String()+" in "+cluster.Name, old, wanted); err != nil {
			return nil, err
		}
		x.clusters = append(x.clusters, one)
	}
	return x, nil
}

// live reads the workload as it is in the host cluster; nil: there is none, or none
// that could be carried out.
func live(c *cobra.Command, host *install.Reach, of *workload, note func(string, ...any)) (*workload, error) {
	object, err := install.Federated(c.Context(), host, of.object.Namespace, of.object.Name)
	if err != nil || object == nil {
		return nil, err
	}
	w, err := readWorkload(object, of.object.Namespace)
	if err != nil {
		note("as it is now it is not carried out, so it is compared with nothing: %s", err)
		return nil, nil
	}
	return w, nil
}

// sameDivision reports whether two versions of a workload ask for the same division.
func sameDivision(a, b placement.Template) bool {
	if selector(a.Where) != selector(b.Where) || !slices.Equal(a.Where.Clusters, b.Where.Clusters) || !slices.Equal(a.Where.Regions, b.Where.Regions) {
		return false
	}
	if a.Spread.Mode != b.Spread.Mode || a.Spread.Rebalance != b.Spread.Rebalance || !maps.Equal(a.Spread.Limits, b.Spread.Limits) {
		return false
	}
	for _, field := range []string{"replicas", "parallelism", "completions", "completionMode", "minReplicas", "maxReplicas"} {
		x, _, _ := unstructured.NestedFieldNoCopy(a.Object.Object, "spec", field)
		y, _, _ := unstructured.NestedFieldNoCopy(b.Object.Object, "spec", field)
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

func selector(w placement.Where) string {
	if w.Labels == nil {
		return ""
	}
	return w.Labels.String()
}

// termChanges are the terms that change, and by which nobody is given anything else
// at once.
func termChanges(a, b placement.Template) []string {
	var list []string
	say := func(name string, x, y any) {
		if x != y {
			list = append(list, fmt.Sprintf("%s %v -> %v", name, x, y))
		}
	}
	say("mode", a.Spread.Mode, b.Spread.Mode)
	say("rebalance", a.Spread.Rebalance, b.Spread.Rebalance)
	say("grace", a.Spread.Grace, b.Spread.Grace)
	say("budget", a.Spread.Budget, b.Spread.Budget)
	say("follow", a.Follow, b.Follow)
	say("adopt", a.Adopt, b.Adopt)
	say("orphan", a.Orphan, b.Orphan)
	return list
}

// unified is a unified diff of two objects; nil is none. Values of Secrets are masked.
func unified(name string, before, after *unstructured.Unstructured) (string, error) {
	before, after = masked(before, after)
	a, err := lines(before)
	if err != nil {
		return "", err
	}
	b, err := lines(after)
	if err != nil {
		return "", err
	}
	if slices.Equal(a, b) {
		return "", nil
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: a, B: b, FromFile: name + ", now", ToFile: name + ", by the file", Context: 3})
}

func lines(o *unstructured.Unstructured) ([]string, error) {
	if o == nil {
		return nil, nil
	}
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", called(o), err)
	}
	return difflib.SplitLines(strings.TrimSuffix(string(text), "\n")), nil
}

// masked puts words in the place of what Secrets hold, which say no more than whether
// it changes.
func masked(before, after *unstructured.Unstructured) (*unstructured.Unstructured, *unstructured.Unstructured) {
	return mask(before, after, "*** (before)"), mask(after, before, "*** (after)")
}

func mask(o, other *unstructured.Unstructured, changed string) *unstructured.Unstructured {
	if o == nil || o.GetAPIVersion() != "v1" || o.GetKind() != "Secret" {
		return o
	}
	o = o.DeepCopy()
	for _, field := range []string{"data", "stringData"} {
		values, is := o.Object[field].(map[string]any)
		if !is {
			if o.Object[field] != nil { // somebody's mistake is his secret too
				o.Object[field] = changed
			}
			continue
		}
		var others map[string]any
		if other != nil {
			others, _ = other.Object[field].(map[string]any)
		}
		for key, v := range values {
			values[key] = changed
			if reflect.DeepEqual(v, others[key]) {
				values[key] = "***"
			}
		}
	}
	return o
}

// print writes the division before and after, then what differs in each cluster.
func (x change) print(w io.Writer) error {
	t := &sheet{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	heading := x.name
	if len(x.terms) > 0 {
		heading += ": " + strings.Join(x.terms, ", ")
	}
	t.line("%s", heading)
	t.row("CLUSTER", "NOW", "THEN", "WHY")
	for _, c := range x.clusters {
		if c.before.Gets || c.after.Gets {
			t.row(c.cluster, gets(c.before), gets(c.after), strings.Join(c.after.Reasons, "; "))
		}
	}
	if x.unplaced != [2]int64{} {
		t.row("(no place)", x.unplaced[0], x.unplaced[1], "")
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	for _, c := range x.clusters {
		if _, err := io.WriteString(w, c.diff); err != nil {
			return err
		}
	}
	return nil
}

// gets is what a cluster gets, in a word.
func gets(p placement.Portion) string {
	switch {
	case !p.Gets:
		return "-"
	case p.Replicas == placement.NotReplicas:
		return "yes"
	}
	return fmt.Sprint(p.Replicas)
}
