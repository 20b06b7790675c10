package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/discovery/file"
	"github.com/meridian-lb/meridian/discovery/peer"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/dns"
	"github.com/meridian-lb/meridian/geo/geoip"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health/probe"
	"github.com/meridian-lb/meridian/hub"
	"github.com/meridian-lb/meridian/xds"
	"github.com/meridian-lb/meridian/xds/render"
)

// daemon is everything wired together.
type daemon struct {
	config
	log       *slog.Logger
	registry  *prometheus.Registry
	papers    papers
	hub       *hub.Hub
	tell      fleet.Tell                                // to the hub, and to peers what is our own
	order     func(context.Context, fleet.Update) error // tell, returning when it is on disk
	peers     *peer.Server
	locator   *geoip.Locator
	dnsServer *dns.Server
	xdsServer *xds.Server
	knowing   admin.Workloads // how workloads fare; nil: no host cluster is watched here
	tasks     []func(context.Context) error
}

// serve wires everything, serves until ctx ends, and joins every goroutine.
func serve(ctx context.Context, c config) error {
	log, err := c.logger()
	if err != nil {
		return err
	}
	d := &daemon{config: c, log: log.With("instance", c.instance), registry: prometheus.NewRegistry()}
	d.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.wire(); err != nil {
		return err
	}
	log.Info("meridiand starts", "version", version, "region", c.region)
	g, ctx := errgroup.WithContext(ctx)
	for _, task := range d.tasks {
		g.Go(func() error { return task(ctx) })
	}
	return g.Wait()
}

func (d *daemon) wire() error {
	if err := d.check(); err != nil {
		return err
	}
	if err := d.introduce(); err != nil {
		return err
	}
	var voices []func(*steer.Plan)
	var err error
	d.hub, err = hub.New(hub.Config{
		Instance: d.instance, Dir: d.state, Log: d.log, Registerer: d.registry,
		Voices: []func(*steer.Plan){func(p *steer.Plan) {
			for _, v := range voices {
				v(p)
			}
		}},
	})
	if err != nil {
		return fmt.Errorf("--state %s: %w", d.state, err)
	}
	d.tell, d.order = d.hub.Tell, d.hub.Order
	for _, part := range []func() (func(*steer.Plan), error){
		d.exchange, d.files, d.clusters, d.lookAround, d.resolvers, d.envoys, d.people,
	} {
		voice, err := part()
		if err != nil {
			return err
		}
		if voice != nil {
			voices = append(voices, voice)
			voice(d.hub.Plan())
		}
	}
	d.tasks = append(d.tasks, d.hub.Run)
	return nil
}

func (d *daemon) source(sense string) string { return hub.Source(d.instance, sense, "") }

func listen(flag, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be listened on; name a free address of this machine: %w", flag, addr, err)
	}
	return l, nil
}

// exchange follows the other regions and lets them follow us. It comes first:
// what own senses tell goes through it.
func (d *daemon) exchange() (func(*steer.Plan), error) {
	if d.peerListen != "" {
		l, err := listen("--peer-listen", d.peerListen)
		if err != nil {
			return nil, err
		}
		d.peers = peer.NewServer(peer.ServerConfig{Instance: d.instance, Listener: l, Creds: d.papers.server("peer", false), Log: d.log, Registerer: d.registry})
		d.peers.Restore(d.hub.Remembered())
		d.tell = d.peers.Tell(d.hub.Tell)
		pass := d.peers.Tell(func(context.Context, fleet.Update) {})
		d.order = func(ctx context.Context, u fleet.Update) error {
			if err := d.hub.Order(ctx, u); err != nil {
				return err
			}
			pass(ctx, u)
			return nil
		}
		d.tasks = append(d.tasks, d.peers.Run)
	}
	var follow []peer.Peer
	for _, addr := range d.config.peers {
		follow = append(follow, peer.Peer{Address: addr})
	}
	d.tasks = append(d.tasks, peer.NewClient(peer.ClientConfig{
		Instance: d.instance, Peers: follow, Creds: d.papers.client(), Tell: d.hub.Tell, Log: d.log, Registerer: d.registry,
	}).Run)
	return nil, nil
}

// files watches the directory of clusters, if there is one.
func (d *daemon) files() (func(*steer.Plan), error) {
	if d.watch == "" {
		return nil, nil
	}
	src, err := file.New(file.Config{
		Dir: d.watch, Instance: d.instance, Known: d.hub.Remembered(), Tell: d.tell, Log: d.log, Registerer: d.registry,
	})
	if err != nil {
		return nil, err
	}
	d.tasks = append(d.tasks, src.Run)
	return nil, nil
}

// lookAround probes gateways and locates clients.
func (d *daemon) lookAround() (func(*steer.Plan), error) {
	from, err := d.config.source()
	if err != nil {
		return nil, err
	}
	d.locator, err = geoip.New(geoip.Config{City: d.city, Country: d.country, Log: d.log, Metrics: d.registry})
	if err != nil {
		return nil, err
	}
	prober := probe.New(probe.Config{
		Instance: d.instance, Source: d.source("probe"), At: d.vantage(), LocalAddr: from,
		Tell: d.tell, Log: d.log, Registerer: d.registry, AllowLoopback: d.probeLoopback,
	})
	around := &surroundings{prober: prober, locator: d.locator, log: d.log}
	f := follow(around.work)
	d.tasks = append(d.tasks, d.locator.Run, prober.Run, f.Run)
	return f.Update, nil
}

// resolvers answers DNS.
func (d *daemon) resolvers() (func(*steer.Plan), error) {
	server, err := dns.New(dns.Config{Listen: d.dns, Locate: d.locator.Locate, NSID: d.nsid, Log: d.log, Registerer: d.registry})
	if err != nil {
		return nil, err
	}
	d.dnsServer = server
	faults := d.faultsOf("dns")
	f := follow(func(ctx context.Context, p *steer.Plan) error {
		server.Update(p)
		faults.say(ctx, server.Problems())
		return nil
	})
	d.tasks = append(d.tasks, server.Run, f.Run)
	return f.Update, nil
}

// envoys steers the gateways of this region.
func (d *daemon) envoys() (func(*steer.Plan), error) {
	l, err := listen("--xds", d.xds)
	if err != nil {
		return nil, err
	}
	g := &gateways{segments: render.NewSegments(), renderers: map[string]*render.Renderer{}, faults: d.faultsOf("xds"), domain: d.papers.domain(), log: d.log}
	f := follow(g.work)
	load := &loads{at: d.vantage(), source: d.source("load"), tell: d.tell, last: map[string]nodeLoad{}}
	g.server, err = xds.New(xds.Config{
		Listener: l, Creds: d.papers.server("xds", false), ViewOf: g.viewOf, Log: d.log, Registerer: d.registry,
		Wanted:   func(string) { f.again() },
		Problems: func(p []fleet.Problem) { g.refuse(p); f.again() },
		Load:     load.take, ServiceOf: render.ServiceOf, ReportEvery: loadEvery,
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	d.xdsServer = g.server
	d.tasks = append(d.tasks, g.server.Run, f.Run, load.Run)
	return f.Update, nil
}
