package install

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// stay is what keeps a member from leaving: a workload with replicas there that do not
// run elsewhere yet.
type stay struct {
	workload string // for people
	replicas int64  // negative: not known
	why      string // empty: they have not been told to move yet
}

func (s stay) String() string {
	switch {
	case s.replicas < 0:
		return fmt.Sprintf("%s: %s", s.workload, s.why)
	case s.why == "":
		return fmt.Sprintf("%s: %d replicas", s.workload, s.replicas)
	}
	return fmt.Sprintf("%s: %d replicas: %s", s.workload, s.replicas, s.why)
}

// staying says what a workload still needs a cluster for; nil: nothing. What has no
// replicas, or as many everywhere, is needed there only as long as it is nowhere else.
func staying(o *v1alpha1.FederatedObject, cluster string) *stay {
	switch {
	case o.DeletionTimestamp != nil:
		return nil // it goes there as everywhere
	case o.Status.ObservedGeneration == 0 && !slices.Contains(o.Finalizers, placement.Finalizer):
		return nil // nothing of it is anywhere
	}
	var head unstructured.Unstructured
	if json.Unmarshal(o.Spec.Template.Raw, &head.Object) != nil {
		head.Object = map[string]any{}
	}
	s := &stay{workload: fmt.Sprintf("%s %s/%s", cmp.Or(head.GetKind(), v1alpha1.KindFederatedObject), o.Namespace, cmp.Or(head.GetName(), o.Name)), replicas: -1}
	if o.Status.ObservedGeneration < o.Generation {
		s.why = "no daemon has looked at it yet as it is now"
		return s
	}
	i := slices.IndexFunc(o.Status.Clusters, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == cluster })
	if i < 0 {
		return nil
	}
	row := o.Status.Clusters[i]
	s.replicas, s.why = max(row.Desired, row.Ready), cmp.Or(row.Message, row.Reason, "it has not been said why")
	if row.State == v1alpha1.WorkloadApplied {
		s.why = "" // it says why they are there
	}
	elsewhere := slices.ContainsFunc(o.Status.Clusters, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster != cluster && c.Ready > 0 })
	switch t, _ := o.Parse(fleet.Origin{}); {
	case t != nil && t.Spread.Mode == placement.ModeDuplicate && elsewhere:
		return nil
	case t != nil && t.Spread.Mode != placement.ModeDuplicate && row.State == v1alpha1.WorkloadUnreachable: // by the daemons; they cannot count what runs there
		s.replicas = max(0, o.Status.Desired-o.Status.Ready, row.Desired)
	case head.GetKind() == "Job": // does not move, and its size stays when it is done
		s.replicas, s.why = row.Ready, "a Job ends where it began"
	}
	for _, c := range o.Status.Conditions {
		if c.Type == v1alpha1.ConditionPlaced && c.Reason == "Unplaced" {
			s.why = strings.TrimPrefix(s.why+"; "+c.Message, "; ")
		}
	}
	if s.replicas == 0 {
		return nil
	}
	return s
}

// stays are the workloads that keep a member, by the names of their FederatedObjects.
type stays map[string]stay

// see takes notice of a workload as it is now; gone: it is no more.
func (l stays) see(u *unstructured.Unstructured, cluster string, gone bool) {
	key := u.GetNamespace() + "/" + u.GetName()
	delete(l, key)
	if gone {
		return
	}
	o, err := federatedObject(u)
	if err != nil {
		l[key] = stay{workload: name(u), replicas: -1, why: fmt.Sprintf("it cannot be read: %v", err)}
	} else if s := staying(o, cluster); s != nil {
		l[key] = *s
	}
}

func (l stays) replicas() (sum int64) {
	for _, s := range l {
		sum += max(0, s.replicas)
	}
	return sum
}

// lines are the first few of them, for people.
func (l stays) lines() []string {
	const few = 5
	var out []string
	for i, key := range slices.Sorted(maps.Keys(l)) {
		if i == few {
			return append(out, fmt.Sprintf("and %d more", len(l)-few))
		}
		out = append(out, l[key].String())
	}
	return out
}

// String is the whole in one sentence, for people.
func (l stays) String() string {
	if l.replicas() == 0 {
		return fmt.Sprintf("%s there\n    %s", workloads(len(l)), strings.Join(l.lines(), "\n    "))
	}
	return fmt.Sprintf("%s with %d replicas there\n    %s", workloads(len(l)), l.replicas(), strings.Join(l.lines(), "\n    "))
}

func workloads(n int) string {
	if n == 1 {
		return "1 workload"
	}
	return fmt.Sprintf("%d workloads", n)
}
