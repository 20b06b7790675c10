// Package file reads facts from directories of ordinary Kubernetes YAML, one directory per cluster, and follows their edits.
//
// Below the root each directory is a cluster and has its name; "_host" holds what
// belongs to the installation as a whole (Ingress, TrafficPolicy, Zone, Cluster),
// which may as well stand beside any cluster's files. A file that is broken keeps
// what it said before; a directory that cannot be read keeps all of it. Files in
// other places, and in directories inside a cluster's, are not read and are named
// as problems; names that begin with a dot are editors' and mounts' own. Every
// Service in a cluster's directory is federated unless its label
// meridian.dev/federate says "false": whoever writes it here means it.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// HostDir is the directory of the installation's own objects. No cluster can
// have this name.
const HostDir = "_host"

// maxSites bounds how many directories are read.
const maxSites = 1000

// Config is what a Source needs.
type Config struct {
	Dir string // the root: DIR/<cluster>/*.yaml, *.yml, *.json
	// Instance names this process. Facts come from the sources
	// Instance+"/file/"+cluster, what is wrong beside them from Instance+"/file".
	Instance string
	// Known is what was told before a restart. Clusters that the first look does
	// not find are told as gone; of the others, what a broken file said stays.
	Known   []fleet.Update
	Tell    fleet.Tell
	Quiet   time.Duration // how long nothing must change before files are read; 0 means 50 ms
	Recheck time.Duration // how often all files are read although nothing seems to have changed; 0 means 30 s

	Log        *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Source reads a root directory.
type Source struct {
	cfg     Config
	metrics *metrics

	mu    sync.Mutex // for Read
	sites map[string]*site
	root  *site  // says what stands beside the clusters' directories; nil: never anything
	fault string // of the root, as logged
}

// New checks that the root can be read. Where an earlier process left facts a root
// that cannot is no reason not to serve them: it is awaited, and they are stale.
func New(cfg Config) (*Source, error) {
	if cfg.Quiet <= 0 {
		cfg.Quiet = 50 * time.Millisecond
	}
	if cfg.Recheck <= 0 {
		cfg.Recheck = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, metrics: newMetrics(cfg.Registerer), sites: map[string]*site{}}
	for _, u := range cfg.Known {
		if u.Source == s.beside() {
			s.root = newSite(v1alpha1.HostCluster, s.beside())
		}
		cluster, ours := strings.CutPrefix(u.Source, s.source(""))
		if !ours {
			continue
		}
		site := newSite(cluster, u.Source)
		site.remembered = map[fleet.FactName]fleet.Value{}
		for _, f := range u.Put {
			if f.Kind != fleet.KindProblems {
				site.remembered[fleet.FactName{Kind: f.Kind, Name: f.Name}] = f.Value
			}
		}
		site.names = asRemembered(site.remembered)
		s.sites[cluster] = site
	}
	if _, err := os.ReadDir(cfg.Dir); err != nil && len(s.sites) == 0 {
		return nil, fmt.Errorf("the directory of clusters %s cannot be read; make it, with one directory per cluster in it: %w", cfg.Dir, bare(err))
	}
	return s, nil
}

func (s *Source) source(cluster string) string { return s.beside() + "/" + cluster }

// beside is the source of what no cluster's source can say.
func (s *Source) beside() string { return s.cfg.Instance + "/file" }

// directoryOf is the name of a cluster's directory below the root.
func directoryOf(cluster string) string {
	if cluster == v1alpha1.HostCluster {
		return HostDir
	}
	return cluster
}

// Read looks at everything once and tells what is new. What was told before and
// cannot be read now becomes stale; what is confirmed to be gone is told as gone.
func (s *Source) Read(ctx context.Context) { s.look(ctx, true) }

func (s *Source) look(ctx context.Context, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics.reads.Inc()
	names, stray, err := s.clusters()
	if err == nil && len(names) == 0 && len(s.sites) > 0 && s.fault != "" {
		err = fmt.Errorf("the directory of clusters %s is there again without any cluster's directory, as one that is about to be filled or mounted", s.cfg.Dir)
	}
	if err != nil {
		s.lose(ctx, err)
		return
	}
	s.fault = ""
	s.tellBeside(ctx, stray)
	for _, name := range names {
		if s.sites[name] == nil {
			s.sites[name] = newSite(name, s.source(name))
		}
	}
	files, problems := 0, len(stray)
	for _, name := range slices.Sorted(maps.Keys(s.sites)) {
		site := s.sites[name]
		dir := ""
		if slices.Contains(names, name) {
			dir = filepath.Join(s.cfg.Dir, directoryOf(name))
		}
		if u, news := site.look(dir, all, nil); news {
			u.Ended = dir == ""
			s.cfg.Tell(ctx, u)
		}
		if dir == "" {
			delete(s.sites, name) // told as gone
			s.cfg.Log.Info("a cluster's directory is gone, and so is what it said", "cluster", name)
			continue
		}
		files += len(site.files)
		problems += len(site.nested)
		for _, c := range site.files {
			problems += len(c.problems)
		}
	}
	s.metrics.files.Set(float64(files))
	s.metrics.problems.Set(float64(problems))
	s.metrics.clusters.Set(float64(len(s.sites)))
}

// tellBeside tells what stands beside the clusters' directories.
func (s *Source) tellBeside(ctx context.Context, stray []fleet.Problem) {
	if s.root == nil && len(stray) > 0 {
		s.root = newSite(v1alpha1.HostCluster, s.beside())
	}
	if s.root == nil {
		return
	}
	if u, news := s.root.look("", true, stray); news {
		s.cfg.Tell(ctx, u)
	}
}

// clusters lists the clusters that have a directory, sorted, and what else stands
// there and will not be read.
func (s *Source) clusters() ([]string, []fleet.Problem, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the directory of clusters: %w", err)
	}
	var names []string
	others := strays{cluster: v1alpha1.HostCluster}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(s.cfg.Dir, name)
		info, err := os.Stat(path) // follows links, as mounts have them
		cluster := name != v1alpha1.HostCluster && field.Label(name) == nil
		switch {
		case strings.HasPrefix(name, "."):
		case err != nil && (e.Type()&fs.ModeSymlink != 0 || !errors.Is(err, fs.ErrNotExist)):
			if s.sites[name] != nil || cluster {
				names = append(names, name) // there, and not to be read: its site will say so
			}
		case err != nil:
		case name == HostDir:
			names = append(names, v1alpha1.HostCluster)
		case s.sites[name] != nil && name != v1alpha1.HostCluster || info.IsDir() && cluster:
			names = append(names, name)
		case info.IsDir():
			others.unnamed(path, name)
		case isManifest(name):
			others.file(name)
		}
	}
	slices.Sort(names)
	if len(names) > maxSites {
		return nil, nil, fmt.Errorf("%s holds %d directories, at most %d clusters are read", s.cfg.Dir, len(names), maxSites)
	}
	return names, others.list(), nil
}

// lose says that nothing can be read. It is no reason to forget anything.
func (s *Source) lose(ctx context.Context, err error) {
	if s.fault != err.Error() {
		s.fault = err.Error()
		s.cfg.Log.Error("the directory of clusters cannot be read, what it said stays in force", "err", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.sites)) {
		if u, news := s.sites[name].lost(err); news {
			s.cfg.Tell(ctx, u)
		}
	}
	if s.root != nil {
		if u, news := s.root.lost(err); news {
			s.cfg.Tell(ctx, u)
		}
	}
}
