package demo

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/xds/bootstrap"
)

// programs are the binaries that the demo runs.
type programs struct{ meridiand, whereami, envoy string }

// site is everything that runs in one region.
type site struct {
	region
	dir   string // its files
	tools programs
	group *lab.Group
	peers []region
	pods  []*lab.Process
	proxy *lab.Process
}

// files is the region's --watch root: one directory per cluster in it.
func (s *site) files() string { return filepath.Join(s.dir, "clusters") }

func (s *site) clusterDir() string { return filepath.Join(s.files(), string(s.name)) }

func (s *site) log(name string) string { return filepath.Join(s.dir, name+".log") }

func (s *site) startPods() error {
	s.pods = nil
	for _, p := range s.region.pods() {
		proc, err := s.group.Start(lab.Command{
			Name: p.name, Path: s.tools.whereami, Log: s.log(p.name),
			Args:  []string{"--listen", p.addr.String(), "--pod", p.name, "--zone", p.zone, "--region", string(s.name), "--cluster", string(s.name)},
			Ready: lab.HTTPReady("http://" + p.addr.String() + "/healthz"),
		})
		if err != nil {
			return err
		}
		s.pods = append(s.pods, proc)
	}
	return nil
}

func (s *site) killPods() error {
	for _, p := range s.pods {
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) startDaemon() error {
	args := []string{
		"--instance", s.instance(), "--region", string(s.name),
		"--watch", s.files(), "--state", filepath.Join(s.dir, "state"),
		"--xds", netip.AddrPortFrom(s.daemon(), xdsPort).String(),
		"--admin", s.adminAddr(), "--dns", s.dnsAddr(),
		"--debug", netip.AddrPortFrom(s.daemon(), debugPort).String(),
		"--peer-listen", netip.AddrPortFrom(s.daemon(), peerPort).String(),
		"--probe-source", s.daemon().String(), "--probe-loopback",
	}
	for _, p := range s.peers {
		args = append(args, "--peer", netip.AddrPortFrom(p.daemon(), peerPort).String())
	}
	_, err := s.group.Start(lab.Command{
		Name: "meridiand " + string(s.name), Path: s.tools.meridiand, Args: args, Log: s.log("meridiand"),
		Ready: lab.HTTPReady("http://" + netip.AddrPortFrom(s.daemon(), debugPort).String() + "/readyz"),
	})
	return err
}

func (s *site) startEnvoy() error {
	boot, err := bootstrap.YAML(bootstrap.Config{
		ID: "envoy-" + string(s.name), Region: s.name, Zone: string(s.name) + "-a", Network: networkOf(s.region),
		Bind: s.envoy(), HTTPPort: frontPort, RelayPort: relayPort,
		XDS:    []bootstrap.HostPort{{Host: s.daemon().String(), Port: xdsPort}},
		Admin:  netip.AddrPortFrom(s.envoy(), envoyAdmin),
		Source: s.envoy(),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "envoy.yaml")
	if err := os.WriteFile(file, boot, 0o644); err != nil {
		return err
	}
	health := fmt.Sprintf("http://%s:%d/.well-known/meridian/healthz", s.envoy(), frontPort)
	s.proxy, err = s.group.Start(lab.Command{
		Name: "envoy " + string(s.name), Path: s.tools.envoy, Log: s.log("envoy"),
		Args: []string{"-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--drain-time-s", "2",
			"--parent-shutdown-time-s", "3", "--log-level", "warning"},
		Ready: lab.HTTPReady(health),
	})
	return err
}

// tell makes the programs known, or says what is missing.
func findPrograms(ctx context.Context, envoy func(context.Context) (string, error)) (programs, error) {
	var p programs
	var err error
	if p.meridiand, err = sibling("meridiand"); err != nil {
		return p, err
	}
	if p.whereami, err = sibling("whereami"); err != nil {
		return p, err
	}
	if p.envoy, err = envoy(ctx); err != nil {
		return p, err
	}
	return p, nil
}

// sibling finds a program that was built beside this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside %s: build all of them with \"make build\"", name, strings.TrimSuffix(self, " "))
	}
	return path, nil
}
