//go:build e2e

package workloads

import (
	"context"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// page is what one cluster has of a ReplicaSet.
type page struct{ asked, ready int64 }

// ledger keeps an eye on one ReplicaSet in every cluster, and on its sums.
type ledger struct {
	w     *world
	name  string
	news  chan struct{}
	floor int64 // ready ones that there must always be; 0: nobody minds
	roof  int64 // replicas that are never asked for at once; 0: nobody minds

	mu    sync.Mutex
	pages map[string]page
	dead  map[string]bool
	least int64
	most  int64
	wrong error
}

// open begins to watch.
func (w *world) open(name string) *ledger {
	l := &ledger{w: w, name: name, news: make(chan struct{}, 1), pages: map[string]page{}, dead: map[string]bool{}}
	for _, s := range w.sites {
		w.background(func(ctx context.Context) error {
			f := informers.NewSharedInformerFactoryWithOptions(s.kube, 0, informers.WithNamespace("default"), informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
			}))
			in := f.Apps().V1().ReplicaSets().Informer()
			if _, err := in.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(o any) { l.write(s, o.(*appsv1.ReplicaSet)) },
				UpdateFunc: func(_, o any) { l.write(s, o.(*appsv1.ReplicaSet)) },
				DeleteFunc: func(any) { l.write(s, nil) },
			}); err != nil {
				return err
			}
			f.Start(ctx.Done())
			<-ctx.Done()
			f.Shutdown()
			return nil
		})
	}
	w.background(l.check)
	return l
}

func pageOf(r *appsv1.ReplicaSet) page {
	if r == nil {
		return page{}
	}
	return page{asked: int64(*r.Spec.Replicas), ready: int64(r.Status.ReadyReplicas)}
}

func (l *ledger) write(s *site, r *appsv1.ReplicaSet) {
	l.mu.Lock()
	l.pages[s.continent.name] = pageOf(r)
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// lost notes that a cluster is dead, or lives again: the dead serve nobody,
// whatever their API server said last.
func (l *ledger) lost(s *site, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead[s.continent.name] = dead
}

// sum is what all living clusters have.
func (l *ledger) sum() page {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sum page
	for name, p := range l.pages {
		if !l.dead[name] {
			sum.asked += p.asked
			sum.ready += p.ready
		}
	}
	return sum
}

// of is what one cluster has.
func (l *ledger) of(name string) page {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pages[name]
}

// guard minds from now on that there are never fewer ready than floor, nor more asked
// for than roof.
func (l *ledger) guard(floor, roof int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor, l.roof, l.least, l.most = floor, roof, 0, 0
}

// passed says how few and how many there were since the guard began, and complains
// of what it was not to see.
func (l *ledger) passed(what string) {
	l.w.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.t.Logf("%s: never fewer than %d ready, never more than %d asked for", what, l.least, l.most)
	if l.wrong != nil {
		l.w.t.Errorf("%s: %v", what, l.wrong)
	}
	l.wrong = nil
}

// check looks at the sums whenever something changes. Watches of several clusters are
// not of one moment, so what looks wrong is asked of the API servers before it is.
func (l *ledger) check(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.news:
		}
		now := l.sum()
		l.mu.Lock()
		floor, roof := l.floor, l.roof
		l.mu.Unlock()
		for range 2 { // one round of questions is not of one moment either
			if floor > 0 && now.ready < floor || roof > 0 && now.asked > roof {
				now = l.ask(ctx, now)
			}
		}
		l.mu.Lock()
		if floor == l.floor && roof == l.roof && (floor > 0 || roof > 0) {
			if l.least == 0 || now.ready < l.least {
				l.least = now.ready
			}
			l.most = max(l.most, now.asked)
			if floor > 0 && now.ready < floor || roof > 0 && now.asked > roof {
				l.wrong = fmt.Errorf("at %s %d were ready and %d asked for: %v", time.Now().UTC().Format("15:04:05.000"), now.ready, now.asked, l.pages)
			}
		}
		l.mu.Unlock()
	}
}

// ask asks every living cluster; while one does not answer, the answer is otherwise.
func (l *ledger) ask(ctx context.Context, otherwise page) page {
	var sum page
	for _, s := range l.w.sites {
		l.mu.Lock()
		dead := l.dead[s.continent.name]
		l.mu.Unlock()
		if dead {
			continue
		}
		r, err := s.kube.AppsV1().ReplicaSets("default").Get(ctx, l.name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return otherwise
		}
		if err == nil {
			sum.asked += pageOf(r).asked
			sum.ready += pageOf(r).ready
		}
	}
	return sum
}

// want waits until the living clusters have just these ready, and are asked for no others.
func (l *ledger) want(what string, within time.Duration, each map[string]int64) time.Duration {
	l.w.t.Helper()
	return l.w.eventually(what, within, func(context.Context) error {
		for name, n := range each {
			if p := l.of(name); p.asked != n || p.ready != n {
				return fmt.Errorf("%s has %d of %d ready, want %d", name, p.ready, p.asked, n)
			}
		}
		return nil
	})
}

// total waits until so many are ready over all, and asked for.
func (l *ledger) total(what string, within time.Duration, n int64) time.Duration {
	l.w.t.Helper()
	return l.w.eventually(what, within, func(context.Context) error {
		if p := l.sum(); p.ready != n || p.asked != n {
			return fmt.Errorf("%d of %d are ready, want %d", p.ready, p.asked, n)
		}
		return nil
	})
}
