package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// probe BY OF up|down [RTT|WHY]: from now on BY sees OF like that. BY and OF are
// regions or "all".
func (p *play) probe(args []string) ([]string, error) {
	if len(args) < 3 || args[2] != "up" && args[2] != "down" {
		return nil, fmt.Errorf("write: probe BY OF up|down [RTT|WHY]")
	}
	regions := p.allRegions()
	for _, by := range these(regions, args[0]) {
		for _, of := range these(regions, args[1]) {
			s := seen{ok: args[2] == "up", since: p.now}
			switch rest := strings.Join(args[3:], " "); {
			case s.ok && rest != "":
				var err error
				if s.rtt, err = time.ParseDuration(rest); err != nil {
					return nil, err
				}
			case !s.ok:
				s.why = rest
			}
			if before, ok := p.sees[sight{by, of}]; ok && before.ok == s.ok {
				s.since = before.since
			}
			p.sees[sight{by, of}] = s
		}
	}
	p.tellSights()
	return nil, nil
}

func these(regions []fleet.Region, name string) []fleet.Region {
	if name == "all" {
		return regions
	}
	return []fleet.Region{fleet.Region(name)}
}

func (p *play) allRegions() []fleet.Region {
	var list []fleet.Region
	for _, e := range p.plan().World.Edges {
		list = append(list, e.Region)
	}
	return list
}

// tellSights tells what every vantage point sees now. A region whose probes have
// been blinded is not told again, so what it saw grows old.
func (p *play) tellSights() {
	facts := map[fleet.Region][]fleet.Fact{}
	for _, e := range p.plan().World.Edges {
		for s, what := range p.sees {
			if s.of != e.Region || p.blind[s.by] {
				continue
			}
			for _, g := range e.Gateways {
				facts[s.by] = append(facts[s.by], fleet.NewFact(string(s.by)+"/"+g.Front().String(), &fleet.Observation{
					From: fleet.Vantage{Region: s.by}, By: string(s.by), Target: g.Front(),
					OK: what.ok, Since: what.since, RTT: what.rtt, Samples: 64, Error: what.why, At: p.now,
				}))
			}
		}
	}
	for by, list := range facts {
		slices.SortFunc(list, func(a, b fleet.Fact) int { return strings.Compare(a.Name, b.Name) })
		p.tell(fleet.Update{Source: string(by) + "/probe", Put: list})
	}
}

// blind REGION: its probes are not heard of any more.
func (p *play) blinded(args []string) ([]string, error) {
	for _, r := range these(p.allRegions(), args[0]) {
		p.blind[r] = true
	}
	return nil, nil
}
