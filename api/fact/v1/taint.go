package factv1

import (
	"cmp"

	"github.com/meridian-lb/meridian/fleet"
)

func labelOut(l fleet.Label) *Label { return &Label{Key: valid(l.Key), Value: valid(l.Value)} }

func (d *door) labels(x []*Label) []fleet.Label {
	out := sorted(list(d, "labels", x, maxSmall, func(l *Label) fleet.Label {
		return fleet.Label{Key: d.key("label", l.GetKey()), Value: d.labelValue("label", l.GetValue())}
	}), func(a, b fleet.Label) int { return cmp.Compare(a.Key, b.Key) })
	for i := 1; i < len(out); i++ {
		if out[i].Key == out[i-1].Key {
			d.refuse("label %s is there twice", out[i].Key)
		}
	}
	return out
}

func taintOut(t fleet.Taint) *Taint {
	return &Taint{Key: valid(t.Key), Value: valid(t.Value), Effect: valid(string(t.Effect))}
}

func (d *door) taint(x *Taint) fleet.Taint {
	return fleet.Taint{
		Key:    d.key("taint", x.GetKey()),
		Value:  d.labelValue("taint", x.GetValue()),
		Effect: oneOf(d, "taint's effect", x.GetEffect(), fleet.NoSchedule, fleet.NoExecute),
	}
}

// What Kubernetes allows as a label: a DNS name and a slash may stand before the word.
const (
	maxKey   = 253 + 1 + 63
	maxValue = 63
)

func (d *door) key(field, s string) string {
	if s == "" {
		d.refuse("%s has no key", field)
	}
	return d.sentence(field+"'s key", s, maxKey)
}

func (d *door) labelValue(field, s string) string { return d.sentence(field+"'s value", s, maxValue) }
