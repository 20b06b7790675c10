package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds"
	"github.com/meridian-lb/meridian/xds/render"
)

// people serves the admin API, and metrics and health to their tools.
func (d *daemon) people() (func(*steer.Plan), error) {
	tokens, err := d.tokens()
	if err != nil {
		return nil, err
	}
	l, err := listen("--admin", d.admin)
	if err != nil {
		return nil, err
	}
	server := admin.New(admin.Config{
		Listener: l, Creds: d.papers.server("admin", true), Authenticator: tokens, Instance: d.instance, Region: fleet.Region(d.region), Resolve: d.resolve,
		Order: d.order, Source: d.source("operator"), Volatile: d.volatile(), Gateways: d.connected, Workloads: d.knowing, Log: d.log, Registerer: d.registry,
	})
	local, err := listen("--debug", d.debug)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	d.tasks = append(d.tasks, server.Run,
		func(ctx context.Context) error { return admin.ServeDebug(ctx, local, d.registry, d.ready) })
	return server.Update, nil
}

// volatile says what an order given here lives on.
func (d *daemon) volatile() string {
	switch {
	case d.state != "":
		return ""
	case len(d.config.peers) > 0 && d.peerListen != "":
		return "This meridiand keeps nothing on disk (--state): the order lasts as long as one of its peers lives."
	}
	return "This meridiand keeps nothing on disk (--state): its restart forgets the order."
}

// resolve says what our own name server answers.
func (d *daemon) resolve(host string, client netip.Addr) admin.Resolution {
	return admin.Resolution(d.dnsServer.Resolve(host, client))
}

// ready says what this process still waits for.
func (d *daemon) ready() error {
	select {
	case <-d.dnsServer.Ready():
	default:
		return errors.New("the name server does not listen yet")
	}
	if p := d.hub.Plan(); len(p.World.Edges) == 0 {
		return fmt.Errorf("no region is known yet (plan %d)", p.Generation)
	}
	return nil
}

// connected lists the Envoys that this process steers.
func (d *daemon) connected() []admin.GatewayInfo {
	var list []admin.GatewayInfo
	for _, n := range d.xdsServer.Connected() {
		g := admin.GatewayInfo{Node: n.ID, Zone: n.Zone, View: n.View, Address: n.Address, Version: n.Version, Since: n.Since, Refused: refusals(n)}
		if v, err := render.ParseKey(n.View); err == nil {
			g.Region = v.Region
		}
		for _, t := range n.Types {
			g.Resources += t.Resources
		}
		list = append(list, g)
	}
	return list
}

func refusals(n xds.Node) string {
	text := ""
	for _, t := range n.Types {
		text = cmp.Or(text, t.Refusal)
	}
	return text
}
