package file

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/fleet"
)

// backends remembers what each service was made of, so that a service is
// translated again only when one of its own objects was read anew.
type backends map[fleet.ServiceName]made

type made struct {
	from     []any // the Service, then its slices
	backend  *fleet.Backend
	problems []fleet.Problem
}

// facts makes the facts of a directory out of the objects that hold their names,
// but for problems, which come beside, sorted.
func facts(cluster string, c *claims, before backends) (map[fleet.FactName]fleet.Value, []fleet.Problem, backends) {
	out := map[fleet.FactName]fleet.Value{}
	problems := c.problems
	put := func(name string, v fleet.Value) { out[fleet.FactName{Kind: v.Kind(), Name: name}] = v }
	services := map[fleet.ServiceName]object{}
	parts := map[fleet.ServiceName][]object{}
	for _, o := range c.objects {
		switch v := o.value.(type) {
		case *corev1.Service:
			services[fleet.ServiceName{Namespace: v.Namespace, Name: v.Name}] = o
		case *discoveryv1.EndpointSlice:
			of, _ := k8s.ServiceOf(v)
			parts[of] = append(parts[of], o)
		case *fleet.Cluster:
			put(v.Name, v)
		case *fleet.RouteSet:
			put("ingress/"+o.id.namespace+"/"+o.id.name, v)
		case *fleet.PolicyRule:
			put(o.id.namespace+"/"+o.id.name, v)
		case *fleet.Zone:
			put(v.Name, v)
		case *fleet.Certificate:
			put(string(v.Name), v)
		}
	}
	for of, list := range parts {
		if !c.serves(of) {
			for _, o := range list {
				problems = append(problems, fleet.Problem{About: o.origin, Reason: "NoService", Message: fmt.Sprintf(
					"no Service %s stands in this directory, so nobody can ask for these endpoints; add it", of)})
			}
		}
	}
	after := make(backends, len(services))
	for name, svc := range services {
		m := before.make(cluster, name, svc, parts[name])
		after[name] = m
		problems = append(problems, m.problems...)
		if m.backend != nil {
			put(cluster+"/"+name.String(), m.backend)
		}
	}
	slices.SortFunc(problems, fleet.Problem.Compare)
	return out, problems, after
}

func (b backends) make(cluster string, name fleet.ServiceName, svc object, parts []object) made {
	from := []any{svc.value}
	list := make([]*discoveryv1.EndpointSlice, 0, len(parts))
	for _, p := range parts {
		from = append(from, p.value)
		list = append(list, p.value.(*discoveryv1.EndpointSlice))
	}
	if m, ok := b[name]; ok && slices.Equal(m.from, from) {
		return m
	}
	backend, problems := k8s.Backend(cluster, svc.value.(*corev1.Service), list, svc.origin)
	return made{from: from, backend: backend, problems: toTheirSlices(problems, parts)}
}

// toTheirSlices moves problems that name an EndpointSlice from the Service to it.
func toTheirSlices(problems []fleet.Problem, parts []object) []fleet.Problem {
	out := slices.Clone(problems)
	for i := range out {
		for _, p := range parts {
			if rest, ok := strings.CutPrefix(out[i].Message, "EndpointSlice/"+p.id.name+".endpoints"); ok {
				out[i].About, out[i].Message = p.origin, "endpoints"+rest
			} else if rest, ok := strings.CutPrefix(out[i].Message, "EndpointSlice/"+p.id.name+".addressType"); ok {
				out[i].About, out[i].Message = p.origin, "addressType"+rest
			}
		}
	}
	return out
}

// byFile makes a fact of each file's problems.
func byFile(out map[fleet.FactName]fleet.Value, problems []fleet.Problem) {
	files := map[string]fleet.Problems{}
	for _, p := range problems {
		files[p.About.File] = append(files[p.About.File], p)
	}
	for name, list := range files {
		slices.SortFunc(list, fleet.Problem.Compare)
		out[fleet.FactName{Kind: fleet.KindProblems, Name: name}] = slices.Compact(list)
	}
}

// renew puts the values of before into after where they are equal, so that what
// did not change keeps its pointer. It reports whether anything changed.
func renew(before, after map[fleet.FactName]fleet.Value) bool {
	changed := len(before) != len(after)
	for name, v := range after {
		old, ok := before[name]
		if ok && reflect.DeepEqual(old, v) {
			after[name] = old
			continue
		}
		changed = true
	}
	return changed
}

// listed are facts in order.
func listed(m map[fleet.FactName]fleet.Value) []fleet.Fact {
	names := slices.SortedFunc(maps.Keys(m), func(a, b fleet.FactName) int {
		return strings.Compare(string(a.Kind)+"\x00"+a.Name, string(b.Kind)+"\x00"+b.Name)
	})
	list := make([]fleet.Fact, 0, len(names))
	for _, n := range names {
		list = append(list, fleet.NewFact(n.Name, m[n]))
	}
	return list
}
