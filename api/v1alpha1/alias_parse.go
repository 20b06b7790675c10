package v1alpha1

import (
	"slices"
	"strings"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// openCNAMEs leaves out the CNAMEs that lead in a circle through this zone:
// nobody can follow them, and every question about them would cost a long answer.
// Those that lead into a circle from outside stay; they lead to nothing then.
func openCNAMEs(f *field.Faults, at func(fleet.Record) string, list []fleet.Record) []fleet.Record {
	w := newAliases(list)
	circle := map[string]string{} // by the alias's own name: the circle as a sentence shows it
	done := map[string]bool{}
	for _, r := range list {
		var path []string // of aliases, each leading to the next
		for name, ok := r.Name, r.Type == "CNAME"; ok && !done[name]; name, ok = w.covering(w.target[name]) {
			done[name] = true
			path = append(path, name)
			next, ok := w.covering(w.target[name])
			if i := slices.Index(path, next); ok && i >= 0 {
				for j := i; j < len(path); j++ {
					circle[path[j]] = circleText(slices.Concat(path[j:], path[i:j]))
				}
			}
		}
	}
	return slices.DeleteFunc(list, func(r fleet.Record) bool {
		text, round := circle[r.Name]
		if round {
			f.Add(at(r), "aliases lead in a circle, %s, and nobody can follow them; point one of them elsewhere", text)
		}
		return round
	})
}

func circleText(names []string) string {
	const most = 4
	shown := append(slices.Clone(names), names[0])
	if len(shown) > most {
		shown = append(shown[:most:most], "...")
	}
	return strings.Join(shown, " to ")
}

// aliases are the CNAMEs of a zone with what is needed to follow them.
type aliases struct {
	target map[string]string // by the alias's own name
	exists map[string]bool   // every name of the zone, those above others too
}

func newAliases(list []fleet.Record) aliases {
	w := aliases{target: map[string]string{}, exists: map[string]bool{}}
	for _, r := range list {
		if r.Type == "CNAME" {
			w.target[r.Name] = strings.ToLower(r.Data)
		}
		for name := r.Name; name != "" && !w.exists[name]; {
			w.exists[name] = true
			_, name, _ = strings.Cut(name, ".")
		}
	}
	return w
}

// covering is the alias that answers for a name: its own, or the wildcard at
// the closest name above that exists (RFC 4592 §3.3.1).
func (w aliases) covering(name string) (alias string, ok bool) {
	for rest := name; rest != "" && !w.exists[name]; {
		if _, rest, _ = strings.Cut(rest, "."); w.exists[rest] {
			name = "*." + rest
			break
		}
	}
	_, ok = w.target[name]
	return name, ok
}
