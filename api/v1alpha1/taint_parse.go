package v1alpha1

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	maxTaints = 64
	maxLabels = 256
)

// labels are those of the object, sorted. A faulty one is left out.
func (c *Cluster) labels(f *field.Faults) []fleet.Label {
	var list []fleet.Label
	for _, key := range bounded(f, "metadata.labels", slices.Sorted(maps.Keys(c.Labels)), maxLabels) {
		value := c.Labels[key]
		if labelKey(f, "metadata.labels", key) && labelValue(f, "metadata.labels", value) {
			list = append(list, fleet.Label{Key: key, Value: value})
		}
	}
	return list
}

// taints are those of the spec and the one of the label, sorted. One with a faulty
// key or value is left out. One whose effect nobody knows has the milder effect: its
// author wants the cluster left alone, and nothing is moved on a guess.
func (c *Cluster) taints(f *field.Faults) []fleet.Taint {
	var list []fleet.Taint
	for i, t := range bounded(f, "spec.taints", c.Spec.Taints, maxTaints) {
		path := field.Index("spec.taints", i)
		does := effect(f, path+".effect", string(t.Effect))
		if labelKey(f, path+".key", t.Key) && labelValue(f, path+".value", t.Value) {
			list = append(list, fleet.Taint{Key: t.Key, Value: t.Value, Effect: does})
		}
	}
	if given, ok := c.Labels[TaintLabel]; ok {
		list = append(list, fleet.Taint{Key: TaintLabel, Effect: effect(f, "metadata.labels", given)})
	}
	slices.SortFunc(list, fleet.Taint.Compare)
	return slices.Compact(list)
}

func effect(f *field.Faults, path, given string) fleet.TaintEffect {
	switch e := fleet.TaintEffect(given); e {
	case fleet.NoSchedule, fleet.NoExecute:
		return e
	}
	f.Add(path, "%s is no effect of a taint and counts as NoSchedule; write NoSchedule or NoExecute", field.Quote(given))
	return fleet.NoSchedule
}

func labelKey(f *field.Faults, path, key string) bool {
	// The length first: the check looks at every byte.
	if len(key) <= 317 && len(validation.IsQualifiedName(key)) == 0 {
		return true
	}
	f.Add(path, "%s is no key of a label; write up to 63 letters, digits, '-', '_' or '.', after a DNS name and '/' if need be", field.Quote(key))
	return false
}

func labelValue(f *field.Faults, path, value string) bool {
	if len(value) <= 63 && len(validation.IsValidLabelValue(value)) == 0 {
		return true
	}
	f.Add(path, "%s is no value of a label; write up to 63 letters, digits and, inside, '-', '_' or '.'", field.Quote(strings.ToValidUTF8(value, "")))
	return false
}
