package dns

import (
	"net/netip"
	"reflect"
	"slices"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// Table is everything that answers are made of, for one Plan. It is immutable.
//
// Which names exist changes rarely, who is alive changes often: names is
// shared between the tables of plans that differ in health alone.
type Table struct {
	plan       *steer.Plan
	names      *names
	has4, has6 bool // some region has gateways of the family
}

// names are the zones with the names in them.
type names struct {
	zones map[string]*zone // by name
}

// zone finds the zone that answers for a name: the longest that contains it. What
// DS says of a zone stands in the zone above (RFC 4035 §3.1.4.1).
func (n *names) zone(key string, qtype uint16) *zone {
	var found *zone
	for off, end := 0, false; !end; off, end = miekg.NextLabel(key, off) {
		z, ok := n.zones[key[off:]]
		if !ok {
			continue
		}
		if off > 0 || qtype != miekg.TypeDS {
			return z
		}
		found = z
	}
	if root, ok := n.zones["."]; ok && (key != "." || found == nil) {
		return root
	}
	return found
}

// builder makes tables and keeps what the next one can share. One goroutine at a time.
type builder struct {
	zones  []fleet.Zone
	routes *fleet.Routes
	fixed  map[string]*fixed // by zone
	names  *names
	// problems say what of the zones and hosts could not be used; sorted.
	problems []fleet.Problem
}

// build makes the table of a plan.
func (b *builder) build(p *steer.Plan) *Table {
	if b.names == nil || b.routes != p.Routes || !reflect.DeepEqual(b.zones, p.Zones) {
		b.rename(p)
	}
	t := &Table{plan: p, names: b.names}
	for _, e := range p.World.Edges {
		for _, g := range e.Gateways {
			is4 := g.Addr.Unmap().Is4()
			t.has4, t.has6 = t.has4 || is4, t.has6 || !is4
		}
	}
	return t
}

func (b *builder) rename(p *steer.Plan) {
	var problems []fleet.Problem
	n := &names{zones: map[string]*zone{}}
	kept := map[string]*fixed{}
	for _, z := range p.Zones {
		f, ok := b.fixed[z.Name]
		if !ok || !reflect.DeepEqual(f.from, z) {
			f = readFixed(z)
		}
		kept[z.Name] = f
		n.zones[z.Name] = newZone(f)
		problems = append(problems, f.problems...)
	}
	for _, z := range n.zones { // a zone inside another exists there too
		if parent, ok := parentOf(z.name); ok {
			if above := n.zone(parent, miekg.TypeNone); above != nil {
				above.at(z.name)
			}
		}
	}
	for _, h := range p.Routes.Hosts {
		problems = append(problems, n.addHost(h)...)
	}
	for _, z := range n.zones {
		problems = append(problems, z.finish(p.Routes)...)
	}
	slices.SortFunc(problems, fleet.Problem.Compare)
	b.zones, b.routes, b.fixed, b.names = p.Zones, p.Routes, kept, n
	b.problems = slices.Compact(problems)
}

// addHost gives a host of the routes its place in its zone. Hosts outside every
// zone, and the route for every host, are not ours to answer for.
func (n *names) addHost(h fleet.Host) (problems []fleet.Problem) {
	if h.Name == "" {
		return nil
	}
	key, err := canonical(h.Name + ".")
	if err != nil {
		return []fleet.Problem{problem(authorOf(h), ReasonHostName, "host %q is not a domain name (%v) and is not answered for; rename it", h.Name, err)}
	}
	z := n.zone(key, miekg.TypeNone)
	if z == nil {
		return nil
	}
	if z.isNameserver(key) {
		return []fleet.Problem{problem(authorOf(h), ReasonHostNameserver, "host %q is also a name server of zone %s, so its addresses stay fixed; give one of them another name", h.Name, z.name)}
	}
	at := z.at(key)
	at.host = h.Name
	at.tls = h.Certificate != ""
	for _, rtype := range []uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypeCNAME} {
		if len(at.records[rtype]) > 0 {
			at.drop(rtype)
			problems = append(problems, problem(z.from, ReasonRecordBesideHost, "host %q is steered, so the fixed %s record of zone %s at this name is not used; remove one of them",
				h.Name, miekg.TypeToString[rtype], z.name))
		}
	}
	z.mix(h.Name, at.tls)
	return problems
}

// steered is what a plan says for a host and a client.
type steered struct {
	region  fleet.Region // empty: no region may serve
	v4, v6  []netip.Addr // of this one region
	tls     uint16       // port at which all of them serve TLS; 0: none
	ttl     uint32       // seconds
	stale   bool         // the region's endpoints are those last told; their source has lost touch
	place   bool         // the choice depends on the client's place
	prefix  bool         // and on its prefix
	decided bool         // a service stands behind the host
}

// steer asks the plan.
func (t *Table) steer(host string, c client) steered {
	d, ok := t.plan.ForHost(steer.Client(c.loc, c.prefix), host)
	s := steered{
		decided: ok && len(d.Services) > 0,
		ttl:     seconds(d.TTL),
		place:   d.Depends >= steer.OnPlace,
		prefix:  d.Depends == steer.OnPrefix,
	}
	choice, ok := d.Choice()
	if !ok {
		return s
	}
	s.region, s.tls = choice.Region, t.plan.TLSPort(choice.Region)
	s.stale = slices.ContainsFunc(choice.Reasons, func(r steer.Reason) bool { return r.Code == steer.ReasonStale })
	for _, a := range t.plan.Addresses(choice.Region) {
		if a = a.Unmap(); a.Is4() {
			s.v4 = append(s.v4, a)
		} else {
			s.v6 = append(s.v6, a)
		}
	}
	return s
}
