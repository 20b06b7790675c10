package v1alpha1

import (
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/placement"
)

const (
	maxClusters     = 1024
	maxReplicas     = 1_000_000 // the largest weight too
	maxRequirements = 32
	maxValues       = 64
)

// parse makes a workload without an object. Its mode is empty when none is given.
func (t *Terms) parse(f *field.Faults, path string) placement.Template {
	if t.ServiceAccountName != "" {
		if err := AccountName(t.ServiceAccountName); err != nil {
			f.Add(path+".serviceAccountName", "%v", err)
		}
	}
	return placement.Template{
		Where:     t.Where.parse(f, path+".where"),
		Spread:    t.Spread.parse(f, path+".spread"),
		Overrides: overrides(f, path+".overrides", t.Overrides),
		Follow:    t.Follow,
		Adopt:     t.Adopt,
		Orphan:    choice(f, path+".deletion", t.Deletion, DeletionDelete, DeletionOrphan) == DeletionOrphan,
		Account:   t.ServiceAccountName,
	}
}

// AccountName checks the name of a ServiceAccount. One that passes names nobody in
// another namespace, however it is put together with one.
func AccountName(name string) error {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Errorf("%s is no name of a ServiceAccount; write one of this namespace by its name alone: up to %d lower-case letters, digits, '-' and '.'", field.Quote(name), validation.DNS1123SubdomainMaxLength)
	}
	return nil
}

func (w *Where) parse(f *field.Faults, path string) placement.Where {
	if w == nil {
		return placement.Where{}
	}
	if w.Clusters != nil && len(w.Clusters) == 0 || w.Regions != nil && len(w.Regions) == 0 {
		f.Add(path, "has an empty list, which would mean nowhere; name clusters or regions, or leave the list out for all")
	}
	var out placement.Where
	for i, c := range bounded(f, path+".clusters", w.Clusters, maxClusters) {
		if clusterName(f, field.Index(path+".clusters", i), string(c)) {
			out.Clusters = append(out.Clusters, string(c))
		}
	}
	slices.Sort(out.Clusters)
	if n := len(out.Clusters); n != len(slices.Compact(slices.Clone(out.Clusters))) {
		f.Add(path+".clusters", "names a cluster twice; remove one of them")
	}
	out.Regions = regions(f, path+".regions", w.Regions)
	slices.Sort(out.Regions)
	out.Labels = w.Selector.parse(f, path+".selector")
	return out
}

func clusterName(f *field.Faults, path, name string) bool {
	switch err := field.Label(name); {
	case err != nil:
		f.Add(path, "%v", err)
	case name == HostCluster:
		f.Add(path, "%q names the installation itself; write the name that the host cluster has as a member", HostCluster)
	default:
		return true
	}
	return false
}

// parse makes the selector; nil when it selects everything.
func (s *LabelSelector) parse(f *field.Faults, path string) labels.Selector {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return nil
	}
	before := f.Count()
	if len(s.MatchLabels) > maxRequirements {
		f.Add(path+".matchLabels", "has %d entries and at most %d are taken; remove the rest", len(s.MatchLabels), maxRequirements)
		return nil
	}
	in := metav1.LabelSelector{MatchLabels: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		labelKey(f, path+".matchLabels", key)
		labelValue(f, path+".matchLabels", string(s.MatchLabels[key]))
		in.MatchLabels[key] = string(s.MatchLabels[key])
	}
	for i, r := range bounded(f, path+".matchExpressions", s.MatchExpressions, maxRequirements) {
		in.MatchExpressions = append(in.MatchExpressions, r.parse(f, field.Index(path+".matchExpressions", i)))
	}
	if f.Count() > before {
		return nil
	}
	out, err := metav1.LabelSelectorAsSelector(&in)
	if err != nil { // everything was looked at above
		f.Add(path, "%v; correct it", err)
		return nil
	}
	return out
}

func (r *LabelRequirement) parse(f *field.Faults, path string) metav1.LabelSelectorRequirement {
	labelKey(f, path+".key", r.Key)
	out := metav1.LabelSelectorRequirement{Key: r.Key, Operator: metav1.LabelSelectorOperator(r.Operator)}
	for i, v := range bounded(f, path+".values", r.Values, maxValues) {
		labelValue(f, field.Index(path+".values", i), string(v))
		out.Values = append(out.Values, string(v))
	}
	switch out.Operator {
	case metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn:
		if len(r.Values) == 0 {
			f.Add(path+".values", "is empty, and operator %s needs values; name some, or choose Exists or DoesNotExist", r.Operator)
		}
	case metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			f.Add(path+".values", "operator %s takes no values; remove them, or choose In or NotIn", r.Operator)
		}
	default:
		f.Add(path+".operator", "%s is no operator; choose In, NotIn, Exists or DoesNotExist", field.Quote(r.Operator))
	}
	return out
}

// parse fills in the defaults of a spread; nil is the default spread.
func (s *Spread) parse(f *field.Faults, path string) placement.Spread {
	if s == nil {
		s = &Spread{}
	}
	out := placement.Spread{
		Rebalance: s.Rebalance,
		Grace:     s.Grace.length(f, path+".grace", placement.DefaultGrace, 10*time.Second, 168*time.Hour),
		Budget:    amount(f, path+".budget", s.Budget, 0, 1),
		Limits:    limits(f, path+".limits", s.Limits),
	}
	if s.Mode != "" {
		out.Mode = choice(f, path+".mode", placement.Mode(s.Mode), placement.ModeDivide, placement.ModeFree, placement.ModeDuplicate)
	}
	if out.Mode == placement.ModeDivide && !anybody(out.Limits) {
		f.Add(path+".limits", "give nobody a replica; give at least one cluster a weight or a min above 0, and a max above 0")
	}
	return out
}

// limits by cluster; without any, all are equal.
func limits(f *field.Faults, path string, given []Limit) map[string]placement.Limit {
	if len(given) == 0 {
		return map[string]placement.Limit{placement.Everywhere: {Weight: 1, Max: -1}}
	}
	out := make(map[string]placement.Limit, min(len(given), maxClusters))
	for i, l := range bounded(f, path, given, maxClusters) {
		path := field.Index(path, i)
		if l.Cluster != placement.Everywhere {
			clusterName(f, path+".cluster", l.Cluster)
		}
		if _, twice := out[l.Cluster]; twice {
			f.Add(path+".cluster", "%s is named twice; remove one of them", field.Quote(l.Cluster))
		}
		one := placement.Limit{
			Weight: amount(f, path+".weight", l.Weight, 1, 0),
			Min:    amount(f, path+".min", l.Min, 0, 0),
			Max:    amount(f, path+".max", l.Max, -1, 0),
		}
		if one.Max >= 0 && one.Min > one.Max {
			f.Add(path+".min", "%d is above the max of %d; lower it, or raise the max", one.Min, one.Max)
		}
		out[l.Cluster] = one
	}
	return out
}

func anybody(limits map[string]placement.Limit) bool {
	for _, l := range limits {
		if (l.Weight > 0 || l.Min > 0) && l.Max != 0 {
			return true
		}
	}
	return false
}

// amount is count for numbers of replicas and weights.
func amount(f *field.Faults, path string, n *int64, def, least int64) int64 {
	switch {
	case n == nil:
		return def
	case *n < least || *n > maxReplicas:
		f.Add(path, "%d lies outside %d to %d; write a number in between", *n, least, maxReplicas)
		return def
	}
	return *n
}

// idle names fields that are right and change nothing.
func idle(f *field.Faults, t *placement.Template) {
	given := !maps.Equal(t.Spread.Limits, limits(&field.Faults{}, "", nil))
	if t.Spread.Mode == placement.ModeDuplicate && given {
		f.AddReason(NoEffect, "spec.spread.limits", "nothing is divided in mode duplicate, so limits change nothing; choose the clusters with spec.where, or choose another mode")
	}
	if t.Spread.Mode == placement.ModeDuplicate && t.Spread.Rebalance {
		f.AddReason(NoEffect, "spec.spread.rebalance", "nothing is divided in mode duplicate, so nothing can be moved; remove it, or choose another mode")
	}
	if len(t.Where.Clusters) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(t.Spread.Limits)) {
		if name != placement.Everywhere && !slices.Contains(t.Where.Clusters, name) {
			f.AddReason(NoEffect, "spec.spread.limits", "cluster %q gets nothing, since spec.where leaves it out; add it there or remove it here", name)
		}
	}
	for i, o := range t.Overrides {
		for _, name := range o.Where.Clusters {
			if !slices.Contains(t.Where.Clusters, name) {
				f.AddReason(NoEffect, field.Index("spec.overrides", i), "cluster %q gets nothing, since spec.where leaves it out; add it there or remove it here", name)
			}
		}
	}
}
