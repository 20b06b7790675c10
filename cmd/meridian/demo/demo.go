package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/envoybin"
)

// Config says how the demo is run.
type Config struct {
	Out   io.Writer
	Story bool // tell the story and end; else run until ctx ends
	Keep  bool // leave files and logs for a look
}

// Run starts the three regions, tells the story or shows the table, and ends
// everything it started, whatever happens.
func Run(ctx context.Context, cfg Config) (err error) {
	tools, err := findPrograms(ctx, func(ctx context.Context) (string, error) { return envoybin.Ensure(ctx, cfg.Out) })
	if err != nil {
		return err
	}
	if err := portsFree(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "meridian-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() {
		if cfg.Keep || err != nil && ctx.Err() == nil {
			fmt.Fprintf(cfg.Out, "Files and logs are in %s\n", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()

	group := lab.NewGroup(ctx)
	defer func() {
		// What somebody killed by hand before Ctrl-C is no fault of the demo's.
		if e := group.Stop(); ctx.Err() == nil {
			err = errors.Join(err, e)
		}
	}()
	work, stop := context.WithCancel(ctx)
	background, work := errgroup.WithContext(work)
	defer func() {
		stop()
		if e := background.Wait(); e != nil && ctx.Err() == nil {
			err = errors.Join(err, e)
		}
	}()

	sites := newSites(dir, tools, group)
	if err := start(work, cfg.Out, sites, background); err != nil {
		return err
	}
	if cfg.Story {
		return tell(work, cfg.Out, sites)
	}
	return show(work, cfg.Out, sites, background)
}

func newSites(dir string, tools programs, group *lab.Group) []*site {
	var sites []*site
	for _, r := range regions() {
		s := &site{region: r, dir: filepath.Join(dir, string(r.name)), tools: tools, group: group}
		for _, p := range regions() {
			if p.name != r.name {
				s.peers = append(s.peers, p)
			}
		}
		sites = append(sites, s)
	}
	return sites
}

// networkOf: each region is its own network, so that regions meet at gateways only.
func networkOf(r region) fleet.Network { return fleet.Network(r.name) }

// start brings everything up in an order in which each part finds what it needs.
func start(ctx context.Context, out io.Writer, sites []*site, background *errgroup.Group) error {
	began := time.Now()
	wan, err := newOcean(sites)
	if err != nil {
		return err
	}
	background.Go(func() error { return wan.Run(ctx) })
	for _, s := range sites {
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return err
		}
		if err := writeCluster(s.clusterDir(), s.region); err != nil {
			return err
		}
	}
	if err := writeInstallation(sites[0].clusterDir()); err != nil {
		return err
	}
	for _, part := range []struct {
		what string
		do   func(*site) error
	}{
		{"web services", (*site).startPods},
		{"node agents", func(s *site) error {
			background.Go(func() error { return agent{s.region, s.clusterDir()}.Run(ctx) })
			return nil
		}},
		{"meridiand", (*site).startDaemon},
		{"Envoy", (*site).startEnvoy},
	} {
		for _, s := range sites {
			if err := part.do(s); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "%5.1f s  %s up in %d regions\n", time.Since(began).Seconds(), part.what, len(sites))
	}
	return nil
}

// newOcean puts the made ocean before every gateway: front and relay.
func newOcean(sites []*site) (*lab.WAN, error) {
	cfg := lab.WANConfig{FreeConnect: true, KeepSource: true}
	for _, s := range sites {
		cfg.Sites = append(cfg.Sites, lab.Site{Name: string(s.name), Sources: prefixes(s.prefix()), Place: s.place})
		for _, port := range []int{frontPort, relayPort} {
			cfg.Gateways = append(cfg.Gateways, lab.Gateway{
				Name:   fmt.Sprintf("%s:%d", s.name, port),
				Listen: fmt.Sprintf("%s:%d", s.public(), port),
				Target: fmt.Sprintf("%s:%d", s.envoy(), port),
				Place:  s.place,
			})
		}
	}
	return lab.NewWAN(cfg)
}
