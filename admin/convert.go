package admin

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// utf8Only keeps a stray byte in what an Envoy says from spoiling an answer.
func utf8Only(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func placeOut(p fleet.Place) *adminv1.Place {
	if !p.Known() {
		return nil
	}
	return &adminv1.Place{Lat: p.Lat, Lon: p.Lon}
}

func healthOut(s fleet.State) adminv1.Health {
	switch s {
	case fleet.Healthy:
		return adminv1.Health_HEALTH_HEALTHY
	case fleet.Unhealthy:
		return adminv1.Health_HEALTH_UNHEALTHY
	}
	return adminv1.Health_HEALTH_UNKNOWN
}

func verdictOut(v fleet.Verdict) *adminv1.Verdict {
	return &adminv1.Verdict{State: healthOut(v.State), Up: int32(v.Up), Fresh: int32(v.Fresh), Frozen: v.Frozen, Detail: utf8Only(v.Detail)}
}

func gatewayOut(g fleet.GatewayView) *adminv1.Gateway {
	out := &adminv1.Gateway{Front: g.Front().String(), Cluster: g.Cluster, Health: verdictOut(g.Health), Draining: g.Draining}
	if g.RelayPort != 0 {
		out.Relay = g.Relay().String()
	}
	return out
}

func drainOut(d fleet.Drain) *adminv1.DrainOrder {
	out := &adminv1.DrainOrder{Name: d.Name, On: d.On, Order: d.Order, Reason: utf8Only(d.Reason), By: utf8Only(d.By)}
	switch d.Scope {
	case fleet.ScopeRegion:
		out.Scope = adminv1.Scope_SCOPE_REGION
	case fleet.ScopeCluster:
		out.Scope = adminv1.Scope_SCOPE_CLUSTER
	}
	if !d.Since.IsZero() {
		out.Since = timestamppb.New(d.Since)
	}
	return out
}

func routeOut(r fleet.Route) *adminv1.Route {
	out := &adminv1.Route{Match: r.Match.Type.String(), Path: utf8Only(r.Match.Path), Tls: r.Certificate != "", Origin: utf8Only(r.Origin.String())}
	for _, t := range r.To {
		out.To = append(out.To, targetOut(t))
	}
	return out
}

func targetOut(t fleet.Target) *adminv1.Target {
	out := &adminv1.Target{Service: t.Service.String(), Port: t.Port.Name, Weight: t.Weight}
	if t.Port.Number != 0 {
		out.Port = strconv.Itoa(int(t.Port.Number))
	}
	return out
}

func problemOut(p fleet.Problem) *adminv1.Problem {
	out := &adminv1.Problem{
		Cluster: p.About.Cluster, Kind: p.About.Kind, Namespace: p.About.Namespace, Name: utf8Only(p.About.Name),
		Reason: p.Reason, Message: utf8Only(p.Message),
	}
	if p.About.File != "" {
		out.File = utf8Only(p.About.File)
		if p.About.Line > 0 {
			out.File += fmt.Sprintf(":%d", p.About.Line)
		}
	}
	return out
}

func locationOut(l fleet.Location) *adminv1.Location {
	out := &adminv1.Location{Place: placeOut(l.Place), Country: l.Country, City: utf8Only(l.City), Layer: l.Layer}
	if l.Prefix.IsValid() {
		out.Prefix = l.Prefix.String()
	}
	return out
}

func decisionOut(d steer.Decision) *adminv1.Decision {
	out := &adminv1.Decision{Strategy: string(d.Strategy), Panic: d.Panic, Depends: dependsOut(d.Depends)}
	for _, s := range d.Services {
		out.Services = append(out.Services, s.String())
	}
	for _, c := range d.Order {
		out.Order = append(out.Order, candidateOut(c))
	}
	for _, c := range d.Refused {
		out.Refused = append(out.Refused, candidateOut(c))
	}
	return out
}

func dependsOut(d steer.Dependence) string {
	switch d {
	case steer.OnPlace:
		return "place"
	case steer.OnPrefix:
		return "prefix"
	}
	return "nothing"
}

func candidateOut(c steer.Candidate) *adminv1.Candidate {
	out := &adminv1.Candidate{
		Region: string(c.Region), Priority: int32(c.Priority), Share: c.Share,
		Cost: durationpb.New(c.Cost.RTT), CostSource: string(c.Cost.Source), Km: c.Cost.Km,
		State: healthOut(c.State), Ready: int32(c.Ready), Total: int32(c.Total), Direct: c.Direct,
	}
	for _, r := range c.Reasons {
		out.Reasons = append(out.Reasons, &adminv1.Reason{Code: string(r.Code), Text: utf8Only(r.Text)})
	}
	return out
}
