package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Origin names the object that a value was made from. It is never lost on the
// way, so that a conflict or fault is reported back to its author.
type Origin struct {
	Cluster    string // or "host" for objects of the installation itself
	Kind       string
	Namespace  string // empty for kinds without one
	Name       string
	Generation int64     // 0 when the source keeps none
	Created    time.Time // zero when the source does not say
	File       string    // for objects from files
	Line       int       // of the object in File; 0: the file as a whole
}

func (o Origin) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + o.Name
	}
	s := strings.TrimSpace(o.Kind + " " + name)
	switch {
	case o.File != "" && o.Line > 0:
		return fmt.Sprintf("%s (%s:%d)", s, o.File, o.Line)
	case o.File != "" && o.File != o.Name: // a file that is the object names itself
		return fmt.Sprintf("%s (%s)", s, o.File)
	case o.File != "":
		return s
	}
	if o.Cluster != "" {
		return fmt.Sprintf("%s in %s", s, o.Cluster)
	}
	return s
}

// Compare orders origins by age (a known age first), then by name: the order of
// precedence when two objects claim the same thing.
func (o Origin) Compare(p Origin) int {
	return cmp.Or(byAge(o.Created, p.Created), cmp.Compare(o.Namespace, p.Namespace), cmp.Compare(o.Name, p.Name),
		cmp.Compare(o.Kind, p.Kind), cmp.Compare(o.Cluster, p.Cluster), cmp.Compare(o.File, p.File),
		cmp.Compare(o.Line, p.Line))
}

// byAge orders a known time before an unknown one, and an earlier before a later.
func byAge(a, b time.Time) int {
	switch {
	case a.IsZero() == b.IsZero():
		return a.Compare(b)
	case b.IsZero():
		return -1
	}
	return 1
}

// Route sends the requests that one of its matches takes to its targets.
type Route struct {
	Host  string   // lower case, no port; "*.example.com" for one label more; "" for every host
	Match Match    // which requests
	To    []Target // never empty; weights divide between them
	// Certificate that the host is served with over TLS; empty: the object asks for none.
	Certificate CertificateName
	Origin      Origin
}

// PathType says how a path is compared.
type PathType uint8

// The path types. A prefix matches whole path elements: /foo takes /foo and
// /foo/bar but not /foobar (Kubernetes Ingress and Gateway API agree).
const (
	PathPrefix PathType = iota
	PathExact
)

func (t PathType) String() string {
	if t == PathExact {
		return "Exact"
	}
	return "Prefix"
}

// Match says which requests of a host a route takes.
type Match struct {
	Type PathType
	Path string // in the form of NormalPath; a prefix carries no "/" at its end, but "/" itself
}

// Takes reports whether the path (without query) matches.
func (m Match) Takes(path string) bool {
	if m.Type == PathExact {
		return path == m.Path
	}
	if m.Path == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, m.Path)
	return ok && (rest == "" || rest[0] == '/')
}

// Compare orders matches from the most to the least specific: exact first, then
// the longer path, then by the path itself.
func (m Match) Compare(n Match) int {
	return cmp.Or(-cmp.Compare(m.Type, n.Type), -cmp.Compare(len(m.Path), len(n.Path)), cmp.Compare(m.Path, n.Path))
}

// Target is a port of a service with a weight among its siblings.
type Target struct {
	Service ServiceName
	Port    PortRef
	Weight  uint32 // 0 sends nothing; sources without weights say 1
}

// RouteSet is the routes of one object.
type RouteSet struct {
	Routes []Route
	Origin Origin
	// Claimed says since when the object's namespace claims a host of the routes,
	// where that is not since the object was created: the host was added later, or
	// taken over from an object that has gone. Nil: there is no such host.
	Claimed map[string]time.Time
}

// Claim is the object's claim to a host.
func (s *RouteSet) Claim(host string) Claim {
	since, other := s.Claimed[host]
	if !other {
		since = s.Origin.Created
	}
	return Claim{Since: since, By: s.Origin}
}

// Claim is a claim to a host. Of several namespaces that one has the host whose
// claim is the least.
type Claim struct {
	Since time.Time // zero when the source does not say
	By    Origin
}

// Compare orders claims by age (a known age first), then by their objects.
func (c Claim) Compare(d Claim) int { return cmp.Or(byAge(c.Since, d.Since), c.By.Compare(d.By)) }

// Host is one host name with its routes, most specific match first. After the
// build a host belongs to one namespace.
type Host struct {
	Name   string // as in Route.Host
	Routes []Route
	// Certificate that the host is served with over TLS, always one that the
	// Snapshot has; empty: not over TLS.
	Certificate CertificateName
}

// Routes is the table of all hosts, sorted by name. A Routes whose pointer has
// not changed between two Snapshots has not changed.
type Routes struct{ Hosts []Host }

// Host finds the entry that serves a host name: the exact one, else a wildcard
// of one label more, else the entry for every host.
func (r *Routes) Host(name string) (Host, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name != "" {
		if h, ok := r.exactly(name); ok {
			return h, true
		}
		if w := wildcardOf(name); w != "" {
			if h, ok := r.exactly(w); ok {
				return h, true
			}
		}
	}
	return r.exactly("")
}

// wildcardOf is the wildcard that takes a name; empty for a name of one label.
func wildcardOf(name string) string {
	if _, parent, ok := strings.Cut(name, "."); ok {
		return "*." + parent
	}
	return ""
}

func (r *Routes) exactly(name string) (Host, bool) {
	i, ok := slices.BinarySearchFunc(r.Hosts, name, func(h Host, name string) int { return cmp.Compare(h.Name, name) })
	if !ok {
		return Host{}, false
	}
	return r.Hosts[i], true
}

// Route finds the route of the host that takes a path.
func (h Host) Route(path string) (Route, bool) {
	for _, r := range h.Routes {
		if r.Match.Takes(path) {
			return r, true
		}
	}
	return Route{}, false
}
