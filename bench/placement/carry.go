package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"

	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/bench/role"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/placement/apply"
)

// access is how an API server of the stubs is reached.
func access(o options, name string) (*rest.Config, *http.Client, error) {
	cfg := &rest.Config{Host: "http://" + name, QPS: float32(o.rate), Burst: 4 * o.rate}
	cfg.ContentType = "application/json" // for the lease too; stubs read nothing else
	if o.rate == 0 {
		cfg.QPS = -1
	}
	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket(o, name))
	}
	client, err := rest.HTTPClientFor(cfg)
	return cfg, client, err
}

// carry is the role of what is measured: an Applier and nothing else.
func carry(o options, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	host, _, err := access(o, "host")
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	a, err := apply.New(apply.Config{Instance: fmt.Sprint("bench-", os.Getpid()), Host: host, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		return err
	}
	members := map[string]apply.Member{}
	snapshot := fleet.EmptySnapshot()
	for i := range o.clusters {
		name := memberName(i)
		cfg, client, err := access(o, name)
		if err != nil {
			return err
		}
		members[name] = apply.Member{Config: cfg, Client: client, Token: "1"}
		c := &fleet.Cluster{Name: name, At: fleet.Vantage{Region: fleet.Region(name)}}
		snapshot.World.Edges = append(snapshot.World.Edges, &fleet.Edge{Region: c.At.Region, Clusters: []*fleet.Cluster{c}})
	}
	a.Members(members)
	a.Update(steer.New(snapshot))
	ended := make(chan error, 1)
	err = role.Obey(in, out, func(c command) (reply, error) {
		switch c.Do {
		case "begin":
			go func() { ended <- a.Run(ctx) }() // joined below
		case "usage":
			return usage()
		case "profile":
			return reply{}, profile(o, c.Name)
		case "news": // of the world, for which every workload is thought about
			anew := *snapshot
			world := *snapshot.World
			anew.World = &world
			a.Update(steer.New(&anew))
		}
		return reply{}, nil
	})
	stop()
	if err == nil {
		err = <-ended
	}
	return err
}

// usage is what this process has used so far, and what it holds.
func usage() (reply, error) {
	var r reply
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var err error
	r.Mallocs, r.Allocated = m.Mallocs, m.TotalAlloc
	r.CPU, r.Peak, err = role.Usage()
	return r, err
}

// profile ends the CPU profile that runs, writes down the heap, and begins the next CPU
// profile; an empty name begins none.
func profile(o options, name string) error {
	runtime.GC()
	if o.profile == "" {
		return nil
	}
	pprof.StopCPUProfile()
	if name == "" {
		return nil
	}
	h, err := os.Create(filepath.Join(o.profile, "heap-before-"+name+".pprof"))
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	if err := pprof.WriteHeapProfile(h); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(o.profile, "cpu-"+name+".pprof"))
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}
