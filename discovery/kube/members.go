package kube

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// members are the clusters that are watched now. It belongs to the installation's
// goroutine.
type members struct {
	cfg     Config
	meter   *metrics
	running map[string]*running
	work    sync.WaitGroup
	poke    func() // hears when it may be another member's turn to speak
	swept   bool   // what was remembered of members that have left is told as gone
}

// running is a member with its end.
type running struct {
	*member
	newest *access // nil: none yet
	stop   func()  // returns when it has ended
}

func newMembers(cfg Config, meter *metrics) *members {
	return &members{cfg: cfg, meter: meter, running: map[string]*running{}, poke: func() {}}
}

func (ms *members) source(name string) string { return ms.cfg.Instance + "/kube/" + name }

// set watches just these from now on. A nil access is a member whose credentials
// have not been read yet: it goes on as it is. It never waits for an API server.
func (ms *members) set(ctx context.Context, want map[string]*access) {
	for _, name := range slices.Sorted(maps.Keys(ms.running)) {
		if _, stays := want[name]; stays {
			continue
		}
		ms.running[name].stop()
		ms.running[name].voice.end(ctx)
		delete(ms.running, name)
		ms.forget(name)
		ms.meter.forget(name)
		ms.cfg.Log.Info("a cluster has left, and so has what it said", "cluster", name)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if ms.running[name] == nil {
			ms.start(ctx, name)
		}
		if a := want[name]; a != nil {
			ms.running[name].newest = a
		}
	}
	twins := ms.twins()
	for name, r := range ms.running {
		if r.newest != nil {
			a := *r.newest
			a.elder = twins[name]
			r.use(a)
		}
	}
	ms.sweep(ctx, want)
}

// recall watches members as they were last reached, while nobody says which there
// are now. So nobody is told as gone.
func (ms *members) recall(ctx context.Context, known map[string]*access) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if ms.running[name] == nil {
			ms.start(ctx, name)
			ms.running[name].newest = known[name]
			ms.running[name].use(*known[name])
			ms.cfg.Log.Info("the host cluster does not say how a member is reached, so it is watched as before the restart", "cluster", name)
		}
	}
}

func (ms *members) start(ctx context.Context, name string) {
	m := newMember(name, ms.source(name), ms.cfg, ms.meter)
	m.known, m.identity.met = ms.poke, ms.poke
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	ms.work.Go(func() {
		defer close(done)
		m.run(ctx)
	})
	ms.running[name] = &running{member: m, stop: func() { cancel(); <-done }}
}

// sweep tells once what became of members that left while nobody watched.
func (ms *members) sweep(ctx context.Context, want map[string]*access) {
	if ms.swept {
		return
	}
	ms.swept = true
	for _, u := range slices.Clone(ms.cfg.Known) {
		name, ours := strings.CutPrefix(u.Source, ms.source(""))
		if _, there := want[name]; ours && !there && name != v1alpha1.HostCluster {
			newVoice(u.Source, ms.cfg.Tell, nil).end(ctx)
			ms.forget(name)
		}
	}
}

// forget drops what was remembered of a member that has left: should one of its name
// come back, what it said before a restart is not its own any more.
func (ms *members) forget(name string) {
	ms.cfg.Known = slices.DeleteFunc(slices.Clone(ms.cfg.Known), func(u fleet.Update) bool { return u.Source == ms.source(name) })
}
