package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// report is what a plan says of the host's objects. It decides without I/O.
type report struct {
	plan     *steer.Plan
	now      time.Time
	instance string
	faults   map[who][]fleet.Problem
	routed   map[who][]string          // hosts of the objects that have routes in force, sorted
	objects  map[who]metav1.Object     // asked about, for events
	clusters map[string]*clusterReport // counted over all services
}

// who is an object of the host cluster.
type who struct{ kind, namespace, name string }

type clusterReport struct{ services, ready, total int }

func newReport(p *steer.Plan, now time.Time, instance string) *report {
	r := &report{plan: p, now: now, instance: instance, faults: map[who][]fleet.Problem{}, routed: map[who][]string{},
		objects: map[who]metav1.Object{}, clusters: map[string]*clusterReport{}}
	for _, f := range p.Problems {
		if f.About.Cluster == v1alpha1.HostCluster {
			w := who{f.About.Kind, f.About.Namespace, f.About.Name}
			r.faults[w] = append(r.faults[w], f)
		}
	}
	for _, h := range p.Routes.Hosts {
		for _, route := range h.Routes {
			if o := route.Origin; o.Cluster == v1alpha1.HostCluster {
				w := who{o.Kind, o.Namespace, o.Name}
				if list := r.routed[w]; len(list) == 0 || list[len(list)-1] != h.Name { // hosts come sorted
					r.routed[w] = append(list, h.Name)
				}
			}
		}
	}
	for _, s := range p.Services {
		for _, b := range s.Backends {
			c := r.clusters[b.Cluster]
			if c == nil {
				c = &clusterReport{}
				r.clusters[b.Cluster] = c
			}
			c.services++
			c.ready += b.ReadyCount()
			c.total += b.Size()
		}
	}
	return r
}

// origin notes an object for events.
func (r *report) origin(o metav1.Object, kind string) who {
	w := who{kind, o.GetNamespace(), o.GetName()}
	r.objects[w] = o
	return w
}

// lostReasons are those for which an object is not in force although it is understood.
func lostReason(reason string) bool { return reason == "DuplicateName" || reason == "HostConflict" }

// verdict makes the two conditions of an object of ours. Unusable says why it
// cannot be in force at all; its author hears of that first.
func (r *report) verdict(o metav1.Object, w who, usable bool, unusable []fleet.Problem, before v1alpha1.Status) v1alpha1.Status {
	faults := r.faults[w]
	if !usable && len(unusable) > 0 {
		faults = unusable
	}
	lost := slices.IndexFunc(faults, func(p fleet.Problem) bool { return lostReason(p.Reason) })
	accepted := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: "understood and in force"}
	resolved := metav1.Condition{Type: v1alpha1.ConditionResolved, Status: metav1.ConditionTrue, Reason: "ResolvedRefs", Message: "everything that it names exists"}
	switch {
	case !usable || lost >= 0:
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, "Invalid", "it is not understood, so its last good version stays in force"
		if len(faults) > 0 {
			accepted.Reason, accepted.Message = faults[max(lost, 0)].Reason, problemText(faults)
		}
		resolved.Status, resolved.Reason, resolved.Message = metav1.ConditionUnknown, "NotAccepted", "the object is not in force"
	case len(faults) > 0:
		resolved.Status, resolved.Reason, resolved.Message = metav1.ConditionFalse, faults[0].Reason, problemText(faults)
	}
	return v1alpha1.Status{ObservedGeneration: o.GetGeneration(), Conditions: r.conditions(before.Conditions, o.GetGeneration(), accepted, resolved)}
}

// conditions puts conditions among those that are there; one that stays keeps
// the time since when it is so.
func (r *report) conditions(before []metav1.Condition, generation int64, list ...metav1.Condition) []metav1.Condition {
	out := slices.Clone(before)
	for _, c := range list {
		c.ObservedGeneration = generation
		c.LastTransitionTime = metav1.NewTime(r.now.Truncate(time.Second))
		meta.SetStatusCondition(&out, c)
	}
	return out
}

func (r *report) zone(z *v1alpha1.Zone) v1alpha1.Status {
	v, why := z.Parse(fleet.Origin{})
	return r.verdict(z, who{"Zone", "", z.Name}, v != nil, why, z.Status)
}

func (r *report) policy(t *v1alpha1.TrafficPolicy) v1alpha1.Status {
	v, why := t.Parse(fleet.Origin{})
	return r.verdict(t, who{"TrafficPolicy", t.Namespace, t.Name}, v != nil, why, t.Status)
}

// seenEvery is how old the time may be at which a cluster was last seen.
const seenEvery = time.Minute

// cluster is the line of a dashboard. Source is who speaks of it.
func (r *report) cluster(c *v1alpha1.Cluster, source string) v1alpha1.ClusterStatus {
	v, why := c.Parse(fleet.Origin{})
	out := v1alpha1.ClusterStatus{Status: r.verdict(c, who{"Cluster", "", c.Name}, v != nil, why, c.Status.Status), Health: r.health(c.Name)}
	if n := r.clusters[c.Name]; n != nil {
		out.Services, out.ReadyEndpoints, out.TotalEndpoints = int32(n.services), int32(n.ready), int32(n.total)
	}
	out.Endpoints = fmt.Sprintf("%d/%d", out.ReadyEndpoints, out.TotalEndpoints)
	out.LastSeen = c.Status.LastSeen
	about := source[strings.IndexByte(source, '/'):]
	for _, s := range r.plan.Sources { // of any instance: one that is in touch is enough
		if !strings.HasSuffix(s.Name, about) || strings.Count(s.Name, "/") != strings.Count(source, "/") {
			continue
		}
		seen := s.Heard
		if s.Stale == "" {
			seen = r.now
		}
		if old := out.LastSeen; !seen.IsZero() && (old == nil || seen.Sub(old.Time) >= seenEvery || s.Stale != "" && seen.Sub(old.Time) >= time.Second) {
			t := metav1.NewTime(seen.Truncate(time.Second))
			out.LastSeen = &t
		}
	}
	if r.silent(about) {
		out.Health = v1alpha1.HealthStale
	}
	return out
}

// silent reports whether nobody who speaks about a cluster is in touch with it.
func (r *report) silent(about string) bool {
	heard := false
	for _, s := range r.plan.Sources {
		if _, rest, _ := strings.Cut(s.Name, "/"); "/"+rest == about {
			if s.Stale == "" {
				return false
			}
			heard = true
		}
	}
	return heard
}

func (r *report) health(cluster string) string {
	best := v1alpha1.HealthUnknown
	for _, e := range r.plan.World.Edges {
		for _, c := range e.Clusters {
			if c.Name == cluster && (c.Draining || e.Drain != "") {
				return v1alpha1.HealthDraining
			}
		}
		for _, g := range e.Gateways {
			switch {
			case g.Cluster != cluster:
			case g.Health.State == fleet.Healthy:
				return v1alpha1.HealthHealthy
			case g.Health.State == fleet.Unhealthy:
				best = v1alpha1.HealthUnhealthy
			}
		}
	}
	return best
}

// The bounds of what an Ingress or Gateway shows.
const (
	maxShownAddresses = 64
	maxShownHosts     = 16
)

// addresses are the front doors of all regions, sorted.
func (r *report) addresses() []netip.Addr {
	var list []netip.Addr
	for _, e := range r.plan.World.Edges {
		for _, g := range e.Gateways {
			list = append(list, g.Addr)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), maxShownAddresses)]
}

// ingress shows where an Ingress is served: the addresses of all regions, and
// those of its hosts that resolvers are answered for here.
func (r *report) ingress(w who) networkingv1.IngressStatus {
	var out networkingv1.IngressStatus
	hosts, in := r.routed[w]
	if !in {
		return out // nothing of it is in force
	}
	for _, a := range r.addresses() {
		out.LoadBalancer.Ingress = append(out.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: a.String()})
	}
	shown := 0
	for _, h := range hosts {
		if h == "" || strings.HasPrefix(h, "*") || shown == maxShownHosts || !slices.ContainsFunc(r.plan.Zones, func(z fleet.Zone) bool { return z.Contains(h + ".") }) {
			continue
		}
		shown++
		out.LoadBalancer.Ingress = append(out.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{Hostname: h})
	}
	return out
}
