package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// wishes are the terms of a workload as flags say them.
type wishes struct {
	where                    []string
	mode                     string
	weights, minima, maxima  []string
	rebalance, follow, adopt bool
	orphan                   bool
	account                  string
	grace                    time.Duration
}

func (w *wishes) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&w.where, "where", nil, "clusters=NAME,…, regions=NAME,… or a selector over the Clusters' labels; may be repeated, then all must hold; default: every cluster")
	f.StringVar(&w.mode, "mode", "", "divide (by weight), free (by room) or duplicate; default: what fits the kind")
	f.StringArrayVar(&w.weights, "weight", nil, "NAME=N: a cluster's weight, \"*\" for those not named; may be repeated; default: 1; *=0 leaves those out")
	f.StringArrayVar(&w.minima, "min", nil, "NAME=N: replicas that a cluster gets first; may be repeated")
	f.StringArrayVar(&w.maxima, "max", nil, "NAME=N: replicas that a cluster never exceeds; may be repeated")
	f.BoolVar(&w.rebalance, "rebalance", false, "let replicas that run move to where the weights want them")
	f.DurationVar(&w.grace, "grace", 0, "how long a silent cluster's replicas are waited for; default 5m")
	f.BoolVar(&w.follow, "follow", false, "take along the ConfigMaps, Secrets, ServiceAccounts and PersistentVolumeClaims that it names")
	f.BoolVar(&w.adopt, "adopt", false, "take over an object of its name that a cluster has already")
	f.BoolVar(&w.orphan, "orphan", false, "let the clusters keep their objects when the FederatedObject is deleted")
	f.StringVar(&w.account, "service-account", "", "ServiceAccount of its namespace on behalf of which it is carried out; you need the verb impersonate on it; default: as the host says")
	_ = c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"divide", "free", "duplicate"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("where", cobra.FixedCompletions([]string{"clusters=", "regions="}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
}

func (w *wishes) terms() (v1alpha1.Terms, error) {
	t := v1alpha1.Terms{Follow: w.follow, Adopt: w.adopt, ServiceAccountName: w.account}
	if w.account != "" {
		if err := v1alpha1.AccountName(w.account); err != nil {
			return t, fmt.Errorf("--service-account: %w", err)
		}
	}
	if w.orphan {
		t.Deletion = v1alpha1.DeletionOrphan
	}
	var err error
	if t.Where, err = parseWhere(w.where); err != nil {
		return t, err
	}
	s := &v1alpha1.Spread{Rebalance: w.rebalance}
	switch placement.Mode(w.mode) {
	case "", placement.ModeDivide, placement.ModeFree, placement.ModeDuplicate:
		s.Mode = v1alpha1.Mode(w.mode)
	default:
		return t, fmt.Errorf("--mode %q is unknown; choose divide, free or duplicate", w.mode)
	}
	if s.Limits, err = w.limits(); err != nil {
		return t, err
	}
	if w.grace != 0 {
		s.Grace = v1alpha1.Duration(w.grace.String())
	}
	if s.Mode != "" || s.Rebalance || s.Limits != nil || s.Grace != "" {
		t.Spread = s
	}
	return t, nil
}

// parseWhere reads what --where says; nil: every cluster.
func parseWhere(given []string) (*v1alpha1.Where, error) {
	if len(given) == 0 {
		return nil, nil
	}
	out := &v1alpha1.Where{}
	for _, text := range given {
		name, list, _ := strings.Cut(text, "=")
		switch name {
		case "clusters":
			for n := range strings.SplitSeq(list, ",") {
				out.Clusters = append(out.Clusters, v1alpha1.ClusterName(strings.TrimSpace(n)))
			}
		case "regions":
			for n := range strings.SplitSeq(list, ",") {
				out.Regions = append(out.Regions, v1alpha1.RegionName(strings.TrimSpace(n)))
			}
		default:
			if err := selectBy(out, text); err != nil {
				return nil, fmt.Errorf("--where %q: write clusters=NAME,…, regions=NAME,… or a selector like tier=gold,cloud in (aws,gcp): %w", text, err)
			}
		}
	}
	return out, nil
}

// selectBy adds a selector in kubectl's words to what must hold.
func selectBy(out *v1alpha1.Where, text string) error {
	s, err := metav1.ParseToLabelSelector(text)
	if err != nil {
		return err
	}
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return fmt.Errorf("it selects nothing")
	}
	if out.Selector == nil {
		out.Selector = &v1alpha1.LabelSelector{}
	}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		value := v1alpha1.LabelValue(s.MatchLabels[key])
		if before, there := out.Selector.MatchLabels[key]; there && before != value {
			return fmt.Errorf("label %s cannot be %q and %q at once; write %s in (%s,%s) for either", key, before, value, key, before, value)
		}
		if out.Selector.MatchLabels == nil {
			out.Selector.MatchLabels = map[string]v1alpha1.LabelValue{}
		}
		out.Selector.MatchLabels[key] = value
	}
	for _, e := range s.MatchExpressions {
		r := v1alpha1.LabelRequirement{Key: e.Key, Operator: string(e.Operator)}
		for _, v := range slices.Sorted(slices.Values(e.Values)) {
			r.Values = append(r.Values, v1alpha1.LabelValue(v))
		}
		out.Selector.MatchExpressions = append(out.Selector.MatchExpressions, r)
	}
	return nil
}

// limits gathers --weight, --min and --max by cluster, sorted.
func (w *wishes) limits() ([]v1alpha1.Limit, error) {
	by := map[string]*v1alpha1.Limit{}
	for _, of := range []struct {
		flag  string
		given []string
		into  func(*v1alpha1.Limit) **int64
	}{
		{"--weight", w.weights, func(l *v1alpha1.Limit) **int64 { return &l.Weight }},
		{"--min", w.minima, func(l *v1alpha1.Limit) **int64 { return &l.Min }},
		{"--max", w.maxima, func(l *v1alpha1.Limit) **int64 { return &l.Max }},
	} {
		for _, text := range of.given {
			name, number, ok := strings.Cut(text, "=")
			n, err := strconv.ParseInt(number, 10, 64)
			if !ok || name == "" || err != nil || n < 0 {
				return nil, fmt.Errorf("%s %q: write a cluster's name, or \"*\" for those not named, and a number: eu-1=3", of.flag, text)
			}
			if by[name] == nil {
				by[name] = &v1alpha1.Limit{Cluster: name}
			}
			at := of.into(by[name])
			if *at != nil {
				return nil, fmt.Errorf("%s is given twice for %q; leave one out", of.flag, name)
			}
			*at = &n
		}
	}
	if len(by) > 0 && by[placement.Everywhere] == nil {
		// Who bounds one cluster does not mean to close all others, which limits
		// without "*" would do.
		one := int64(1)
		by[placement.Everywhere] = &v1alpha1.Limit{Cluster: placement.Everywhere, Weight: &one}
	}
	var list []v1alpha1.Limit
	for _, name := range slices.Sorted(maps.Keys(by)) {
		list = append(list, *by[name])
	}
	return list, nil
}
