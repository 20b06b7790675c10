package plain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// rules are what the Placements say.
type rules struct {
	known   bool
	list    []*placement.Rule
	terms   map[*placement.Rule]map[string]any // as they were written
	last    map[types.UID]*placement.Rule      // the last good one of each Placement
	unclear map[string]bool                    // namespaces with a Placement that was never understood here
	kinds   []schema.GroupVersionKind          // that they name
	said    []said
}

// said is what one Placement says, or what is wrong with it.
type said struct {
	object   *unstructured.Unstructured
	good     bool // it is understood as it is now
	problems []fleet.Problem
}

// same reports whether a Placement says what it said.
func (s said) same(t said) bool {
	return s.object.GetUID() == t.object.GetUID() && s.object.GetGeneration() == t.object.GetGeneration()
}

// ruled reports whether the Placements have been read.
func (f *Federator) ruled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules.known
}

// ruleOf is the Placement that an object is placed by; nil: none selects it.
func (f *Federator) ruleOf(o *unstructured.Unstructured) *placement.Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	return placement.First(f.rules.list, o)
}

// terms are those of an object: of the Placement that selects it, else all clusters with
// an equal division. An object that a Placement alone made federated keeps its terms
// when that goes. False: nobody can say.
func (f *Federator) terms(o, made *unstructured.Unstructured) (map[string]any, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rule := placement.First(f.rules.list, o)
	unclear := f.rules.unclear[o.GetNamespace()]
	if (unclear || rule == nil && !isAlways(o.GroupVersionKind())) && made != nil {
		spec, _, _ := unstructured.NestedMap(made.Object, "spec")
		delete(spec, "template")
		return spec, true
	}
	switch {
	case unclear:
		return nil, false
	case rule == nil:
		return map[string]any{"deletion": string(v1alpha1.DeletionDelete)}, true
	}
	terms := maps.Clone(f.rules.terms[rule])
	if !placement.MayDivide(o) {
		delete(terms, "spread") // it says how replicas are divided
	}
	return terms, true
}

// govern reads the Placements, has everything looked at that they may be about, and
// tells each of them what it does.
func (f *Federator) govern() {
	if !f.placements.ready() {
		return
	}
	f.mu.Lock()
	last := f.rules.last
	f.mu.Unlock()
	now := rules{known: true, terms: map[*placement.Rule]map[string]any{}, last: map[types.UID]*placement.Rule{}, unclear: map[string]bool{}}
	objects := f.placements.list()
	slices.SortFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	for _, o := range objects {
		rule, problems := parse(o)
		now.said = append(now.said, said{o, rule != nil, problems})
		if rule == nil {
			if rule = last[o.GetUID()]; rule == nil {
				now.unclear[o.GetNamespace()] = true
				continue
			}
			now.terms[rule] = f.rules.terms[rule]
		} else {
			terms, _, _ := unstructured.NestedMap(o.Object, "spec")
			delete(terms, "objects")
			now.terms[rule] = terms
		}
		now.last[o.GetUID()] = rule
		now.list = append(now.list, rule)
		for _, s := range rule.Objects {
			now.kinds = append(now.kinds, schema.FromAPIVersionAndKind(s.APIVersion, s.Kind))
		}
	}
	f.mu.Lock()
	same := f.rules.known && slices.EqualFunc(f.rules.said, now.said, said.same)
	f.rules = now
	f.mu.Unlock()
	f.judgeSoon()
	if same {
		return
	}
	f.poke()
	for _, s := range f.watched() {
		for _, o := range s.list() {
			f.queue.Add(keyOf(s.gvk, o))
		}
	}
}

// judge tells every Placement what it does.
func (f *Federator) judge(ctx context.Context) error {
	f.mu.Lock()
	now := f.rules
	f.mu.Unlock()
	var failed []error
	for _, s := range now.said {
		failed = append(failed, f.verdict(ctx, s, now))
	}
	return errors.Join(failed...)
}

func parse(o *unstructured.Unstructured) (*placement.Rule, []fleet.Problem) {
	origin := fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: v1alpha1.KindPlacement, Namespace: o.GetNamespace(), Name: o.GetName(), Generation: o.GetGeneration(), Created: o.GetCreationTimestamp().UTC()}
	var typed v1alpha1.Placement
	raw, err := o.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(raw, &typed)
	}
	if err != nil {
		return nil, []fleet.Problem{{About: origin, Reason: placement.ReasonInvalid, Message: "it cannot be read: " + oneLine(err.Error())}}
	}
	return typed.Parse(origin)
}

// verdict tells a Placement whether it is understood, and which objects that it selects
// an elder one places.
func (f *Federator) verdict(ctx context.Context, s said, now rules) error {
	o := f.placements.get(types.NamespacedName{Namespace: s.object.GetNamespace(), Name: s.object.GetName()})
	if o == nil || o.GetUID() != s.object.GetUID() || o.GetGeneration() != s.object.GetGeneration() {
		return nil // it is read anew first
	}
	accepted := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: "understood and in force"}
	texts := make([]string, 0, len(s.problems))
	for _, p := range s.problems {
		texts = append(texts, p.Message)
	}
	if len(texts) > 0 {
		accepted.Message = oneLine(strings.Join(texts, "; "))
	}
	if !s.good {
		accepted.Status, accepted.Reason = metav1.ConditionFalse, "Invalid"
	}
	list := []metav1.Condition{accepted}
	if rule := now.last[o.GetUID()]; rule != nil {
		list = append(list, f.covers(now.list, rule))
	}
	var status v1alpha1.Status
	before, _, _ := unstructured.NestedMap(o.Object, "status")
	raw, err := json.Marshal(before)
	if err != nil || json.Unmarshal(raw, &status) != nil {
		status = v1alpha1.Status{}
	}
	changed := status.ObservedGeneration != o.GetGeneration()
	status.ObservedGeneration = o.GetGeneration()
	for _, c := range list {
		c.ObservedGeneration = o.GetGeneration()
		c.LastTransitionTime = metav1.NewTime(time.Now().UTC().Truncate(time.Second))
		changed = meta.SetStatusCondition(&status.Conditions, c) || changed
	}
	if !changed {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion()}, "status": status})
	if err != nil {
		return err
	}
	_, err = f.client.Resource(f.placements.gvr).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	f.meter.write("status", err)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// conditionEffective of a Placement is true while no elder one places what it selects.
const conditionEffective = "Effective"

// covers says what becomes of the objects that a rule selects.
func (f *Federator) covers(all []*placement.Rule, rule *placement.Rule) metav1.Condition {
	selected := 0
	var lost []string
	for _, s := range f.watched() {
		for _, o := range s.list() {
			if !rule.Selects(o) || f.stays(o) != "" || o.GetDeletionTimestamp() != nil {
				continue
			}
			selected++
			if first := placement.First(all, o); first != rule {
				lost = append(lost, fmt.Sprintf("%s %s by %s", o.GetKind(), o.GetName(), first.Terms.Origin.Name))
			}
		}
	}
	slices.Sort(lost)
	c := metav1.Condition{Type: conditionEffective, Status: metav1.ConditionTrue, Reason: "Effective", Message: fmt.Sprintf("it places %d objects", selected)}
	if n := len(lost); n > 0 {
		more := ""
		if n > 3 {
			more = fmt.Sprintf(" and %d more", n-3)
		}
		c.Status, c.Reason = metav1.ConditionFalse, "Elder"
		c.Message = fmt.Sprintf("it places %d of the %d objects that it selects, since elder Placements select the others: %s%s; let selectors not overlap", selected-n, selected, strings.Join(lost[:min(n, 3)], ", "), more)
	}
	return c
}
