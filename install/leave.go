package install

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	defaultPatience = 10 * time.Minute // that workloads may take to move
	noticed         = 3 * time.Second  // until every daemon has heard of a drain
	watchAgain      = time.Second
	tellEvery       = 5 * time.Second
)

// drain orders that nothing new be sent to the member and that its workloads move,
// and waits.
func (l *Leaving) drain(ctx context.Context, host *Reach, p Progress) error {
	clusters := host.dynamic.Resource(clustersResource)
	c, err := clusters.Get(ctx, l.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		names, err := host.Members(ctx)
		p.Say("%s is no member of %s, or not any more; that has %s.", l.Name, host.Name, orNone(names))
		return err
	}
	if err != nil {
		return host.explain("reading Cluster "+l.Name, err)
	}
	d := &departure{Leaving: l, host: host.Name, books: hostBooks{host}, began: time.Now(), say: p, left: stays{}}
	if err := d.read(ctx); err != nil && !l.Force {
		return err
	}
	if len(d.left) > 0 && !l.leaves() {
		if names, err := host.Members(ctx); err == nil && len(names) == 1 {
			return fmt.Errorf("%s is the last member, so there is no other cluster for %s\nLet another one join first, or delete these FederatedObjects; or %s", l.Name, d.left, d.remedy())
		}
	}
	if l.Grace <= 0 && (len(d.left) == 0 || l.leaves()) {
		return nil
	}
	if draining, _, _ := unstructured.NestedBool(c.Object, "spec", "draining"); !draining {
		patch := []byte(`{"spec":{"draining":true}}`)
		if _, err := clusters.Patch(ctx, l.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager + "-unjoin"}); err != nil {
			return host.explain("draining Cluster "+l.Name, err)
		}
	}
	return d.wait(ctx)
}

// leaves: nobody waits for its workloads.
func (l *Leaving) leaves() bool { return l.Force || l.Keep }

// departure is a member that drains.
type departure struct {
	*Leaving
	host    string
	books   books
	began   time.Time
	say     Progress
	left    stays
	any     bool   // there are workloads
	version string // at which the watch goes on; empty: all is to be read anew
	stream  watch.Interface
}

// read looks at all workloads anew.
func (d *departure) read(ctx context.Context) error {
	d.left, d.any = stays{}, false
	version, err := d.books.each(ctx, func(o *unstructured.Unstructured) {
		d.any = true
		d.left.see(o, d.Name, false)
	})
	d.version = version
	return err
}

// follow goes on watching, from the last that was seen if that is possible.
func (d *departure) follow(ctx context.Context) (err error) {
	if d.version == "" {
		if err := d.read(ctx); err != nil {
			return err
		}
	}
	if d.version == "" {
		return nil // the host does not know workloads
	}
	d.stream, err = d.books.watch(ctx, d.version)
	return err
}

// hear takes notice of one event.
func (d *departure) hear(e watch.Event, open bool) {
	if !open || e.Type == watch.Error {
		d.stream.Stop()
		d.stream = nil
		if open {
			d.version = ""
		}
		return
	}
	o, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	d.version = o.GetResourceVersion()
	if e.Type != watch.Bookmark {
		d.any = true
		d.left.see(o, d.Name, e.Type == watch.Deleted)
	}
}

// wait waits until the grace is over and, unless they are left, no workload needs the
// member any more. Its select waits for:
//   - news of workloads;
//   - the time to watch again after the stream ended;
//   - the end of the grace, and of a moment in which daemons notice the drain;
//   - the end of all patience;
//   - the time to tell how far it is.
func (d *departure) wait(ctx context.Context) error {
	patience := d.Timeout
	if patience <= 0 {
		patience = defaultPatience
	}
	if d.Grace > 0 {
		d.say.Say("%s drains for %s: nothing new is sent there, and what is under way may finish.", d.Name, d.Grace)
	}
	if len(d.left) > 0 {
		d.say.Say("%s.", d.intent())
	}
	calm := d.Grace
	if d.any && !d.leaves() {
		calm = max(calm, noticed)
	}
	over, limit := time.NewTimer(calm), time.NewTimer(max(patience, calm+noticed))
	again, tell := time.NewTimer(0), time.NewTicker(tellEvery)
	defer func() { over.Stop(); limit.Stop(); again.Stop(); tell.Stop() }()
	defer func() {
		if d.stream != nil {
			d.stream.Stop()
		}
	}()
	var trouble error
	for calmed := false; ; {
		if calmed && (d.leaves() || len(d.left) == 0 && trouble == nil) {
			d.out()
			return nil
		}
		var events <-chan watch.Event
		if d.stream != nil {
			events = d.stream.ResultChan()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s still drains and is still a member; %s: %w", d.Name, d.remedy(), ctx.Err())
		case e, open := <-events:
			if d.hear(e, open); d.stream == nil {
				again.Reset(watchAgain)
			}
		case <-again.C:
			if trouble = d.follow(ctx); trouble != nil {
				again.Reset(watchAgain)
			}
		case <-over.C:
			calmed = true
		case <-limit.C:
			return d.stuck(patience, trouble)
		case <-tell.C:
			d.tell(trouble, calm)
		}
	}
}

func (d *departure) intent() string {
	switch {
	case d.Keep:
		return fmt.Sprintf("What runs there goes on running as nobody's, and is placed elsewhere as well: %s", d.left)
	case d.Force:
		return fmt.Sprintf("It is not waited until these run elsewhere: %s", d.left)
	}
	return fmt.Sprintf("These move to other clusters, and leave it as they are ready there: %s", d.left)
}

// tell says how far it is.
func (d *departure) tell(trouble error, calm time.Duration) {
	left := (calm - time.Since(d.began)).Round(time.Second)
	switch {
	case trouble != nil:
		d.say.Say("  … %v; asked again", trouble)
	case len(d.left) > 0 && !d.leaves():
		d.say.Say("  … %s", d.left)
	case left > 0:
		d.say.Say("  … %s to go", left)
	}
}

// out says what is left behind, where something is.
func (d *departure) out() {
	if len(d.left) > 0 && !d.Keep {
		d.say.Say("Not ready elsewhere, and not waited for: %s.", d.left)
	}
}

// stuck says that it cannot go on, and what helps.
func (d *departure) stuck(patience time.Duration, trouble error) error {
	what := fmt.Sprintf("%s still has %s", d.Name, d.left)
	if trouble != nil {
		what = fmt.Sprintf("nobody knows what %s still has (%v)", d.Name, trouble)
	}
	return fmt.Errorf("after %s %s\nIt is still a member and still drains. Add room, or widen where and limits, and %s", patience, what, d.remedy())
}

// remedy says how to go on.
func (d *departure) remedy() string {
	return fmt.Sprintf("go on with \"meridian unjoin %s --context CONTEXT --host-context %s\", with --keep-workloads to leave there what runs there, or with --force to take it away without waiting; or take it back with \"kubectl --context %s patch cluster.meridian.dev %s --type merge -p '{\"spec\":{\"draining\":false}}'\"",
		d.Name, d.host, d.host, d.Name)
}
