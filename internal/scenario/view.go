package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/hub"
	"github.com/meridian-lb/meridian/xds/render"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ask NAME [TYPE] from CLIENT: what the name server answers.
func (p *play) ask(args []string) ([]string, error) {
	if len(args) < 3 || args[len(args)-2] != "from" {
		return nil, fmt.Errorf("write: dns NAME [TYPE] from CLIENT")
	}
	client, ok := p.clients[args[len(args)-1]]
	if !ok {
		return nil, fmt.Errorf("no client %s; name it with: client NAME PREFIX LAT,LON", args[len(args)-1])
	}
	qtype := miekg.TypeA
	if len(args) == 4 {
		qtype = miekg.StringToType[args[1]]
	}
	q := new(miekg.Msg)
	q.SetQuestion(miekg.Fqdn(args[0]), qtype)
	q.SetEdns0(1232, false)
	q.IsEdns0().Option = append(q.IsEdns0().Option, &miekg.EDNS0_SUBNET{
		Code: miekg.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: client.Prefix.Masked().Addr().AsSlice(),
	})
	packet, err := q.Pack()
	if err != nil {
		return nil, err
	}
	p.dns.Update(p.plan())
	m := new(miekg.Msg)
	if err := m.Unpack(p.dns.Respond(packet, netip.MustParseAddr("192.0.2.53"))); err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	var said []string
	for _, rr := range m.Answer {
		said = append(said, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	if len(m.Answer) == 0 {
		said = append(said, miekg.RcodeToString[m.Rcode])
	}
	for _, o := range m.IsEdns0().Option {
		if s, ok := o.(*miekg.EDNS0_SUBNET); ok {
			said = append(said, fmt.Sprintf("scope /%d", s.SourceScope))
		}
	}
	return said, nil
}

// http HOST[/PATH] at REGION: what the region's gateway does with a request, and why.
func (p *play) http(args []string) ([]string, error) {
	if len(args) != 3 || args[1] != "at" {
		return nil, fmt.Errorf("write: http HOST[/PATH] at REGION")
	}
	name, path, _ := strings.Cut(args[0], "/")
	plan := p.plan()
	host, ok := plan.Routes.Host(name)
	if !ok {
		return []string{"404: no such host"}, nil
	}
	route, ok := host.Route("/" + path)
	if !ok {
		return []string{"404: no such path"}, nil
	}
	at, err := p.gateway(plan, fleet.Region(args[2]))
	if err != nil {
		return nil, err
	}
	var said []string
	for _, t := range route.To {
		d, ok := plan.ForService(at, t.Service)
		if !ok {
			said = append(said, "503: nobody has "+t.Service.String())
			continue
		}
		said = append(said, decision(d)...)
	}
	return said, nil
}

func (p *play) gateway(plan *steer.Plan, r fleet.Region) (steer.Asker, error) {
	e, ok := plan.World.Edge(r)
	if !ok {
		return steer.Asker{}, fmt.Errorf("no region %s", r)
	}
	return steer.Asker{Vantage: e.Clusters[0].At}, nil
}

func decision(d steer.Decision) []string {
	var said []string
	if d.Panic {
		said = append(said, "PANIC")
	}
	for _, c := range d.Order {
		share := ""
		if c.Share < 1 {
			share = fmt.Sprintf(" %.0f%%", 100*c.Share)
		}
		said = append(said, fmt.Sprintf("%d. %s%s: %s", c.Priority, c.Region, share, why(c.Reasons)))
	}
	for _, c := range d.Refused {
		said = append(said, fmt.Sprintf("-- %s: %s", c.Region, why(c.Reasons)))
	}
	return said
}

func why(reasons []steer.Reason) string {
	var list []string
	for _, r := range reasons {
		list = append(list, r.Text)
	}
	return strings.Join(list, "; ")
}

// endpoints NAMESPACE/NAME/PORT at REGION: what Envoy is sent.
func (p *play) endpoints(args []string) ([]string, error) {
	if len(args) != 3 || args[1] != "at" {
		return nil, fmt.Errorf("write: endpoints NAMESPACE/NAME/PORT at REGION")
	}
	plan := p.plan()
	at, err := p.gateway(plan, fleet.Region(args[2]))
	if err != nil {
		return nil, err
	}
	view := render.View{
		Region: at.Region, Network: at.Network, Class: render.DefaultClass,
		Bind: netip.IPv4Unspecified(), HTTPPort: render.DefaultHTTPPort, HTTPSPort: render.DefaultHTTPSPort, RelayPort: render.DefaultRelayPort,
	}
	for _, r := range render.All(view, plan) {
		cla := new(endpointv3.ClusterLoadAssignment)
		if r.Name != args[0] || r.Body.UnmarshalTo(cla) != nil {
			continue
		}
		return localities(cla), nil
	}
	return []string{"none"}, nil
}

func localities(cla *endpointv3.ClusterLoadAssignment) []string {
	var said []string
	for _, l := range cla.GetEndpoints() {
		var eps []string
		for _, e := range l.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			text := fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())
			if h := e.GetHealthStatus().String(); h != "HEALTHY" && h != "UNKNOWN" {
				text += " " + strings.ToLower(h)
			}
			eps = append(eps, text)
		}
		where := strings.Trim(l.GetLocality().GetRegion()+"/"+l.GetLocality().GetZone(), "/")
		said = append(said, fmt.Sprintf("%d. %s weight %d: %s", l.GetPriority(), where, l.GetLoadBalancingWeight().GetValue(), strings.Join(eps, ", ")))
	}
	if len(said) == 0 {
		said = []string{"empty"}
	}
	return said
}

// regions: health and drains.
func (p *play) regions(_ []string) ([]string, error) {
	var said []string
	for _, e := range p.plan().World.Edges {
		line := fmt.Sprintf("%s %s", e.Region, e.Health.State)
		if e.Health.Frozen {
			line += " (frozen)"
		}
		if e.Drain != "" {
			line += ", draining " + e.Drain
		}
		said = append(said, line+": "+e.Health.Detail)
	}
	if len(said) == 0 {
		said = []string{"none"}
	}
	return said, nil
}

// certificates: what each host is served with over TLS.
func (p *play) certificates(_ []string) ([]string, error) {
	var said []string
	for _, h := range p.plan().Routes.Hosts {
		if c, ok := p.plan().Certificates[h.Certificate]; ok {
			said = append(said, fmt.Sprintf("%s: %s, for %s", h.Name, c.Name, strings.Join(c.Hosts, ", ")))
		} else {
			said = append(said, h.Name+": none")
		}
	}
	return said, nil
}

// problems: what is wrong in somebody's object, by the sources, the whole and DNS.
func (p *play) problems(_ []string) ([]string, error) {
	p.dns.Update(p.plan())
	u := fleet.Update{Source: hub.Source(instance, "dns", ""), Whole: true}
	if found := p.dns.Problems(); len(found) > 0 {
		u.Put = []fleet.Fact{fleet.NewFact("dns", fleet.Problems(found))}
	}
	p.tell(u)
	var said []string
	for _, x := range p.plan().Problems {
		said = append(said, strings.ReplaceAll(fmt.Sprintf("%s: %s: %s", x.About, x.Reason, x.Message), p.dir+"/", ""))
	}
	if len(said) == 0 {
		said = []string{"none"}
	}
	return said, nil
}
