package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/placement"
)

// maxFollowed bounds how many objects of the host go along with workloads, each
// watched by a watch of its own.
const maxFollowed = 2000

// followed are the objects of the host that workloads name. Each is watched alone, so
// that nothing else, no other Secret above all, ever comes here. It belongs to the
// desk's goroutine.
type followed struct {
	conn      connection
	pace      Pace
	namespace string // of the installation
	changed   func() // must not block
	watched   map[ref]*companion
	work      sync.WaitGroup
}

// companion is an object of the host that goes along.
type companion struct {
	kind  *kind
	stock *stock
	end   context.CancelFunc
}

func newFollowed(conn connection, cfg Config, changed func()) *followed {
	return &followed{conn: conn, pace: cfg.Pace, namespace: cfg.Namespace, changed: changed, watched: map[ref]*companion{}}
}

// want watches just these from now on.
func (f *followed) want(ctx context.Context, refs map[ref]bool) {
	for r, c := range f.watched {
		if !refs[r] {
			c.end()
			delete(f.watched, r)
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(refs), compareRefs) {
		if f.watched[r] != nil || len(f.watched) >= maxFollowed {
			continue
		}
		c := &companion{stock: &stock{changed: func([]change, bool) { f.changed() }}}
		c.kind = newKind(corev1.SchemeGroupVersion.WithKind(r.Kind), "", c.stock)
		c.kind.namespace, c.kind.field = r.Namespace, "metadata.name="+r.Name
		ctx, cancel := context.WithCancel(ctx)
		c.end = cancel
		f.watched[r] = c
		f.work.Go(func() { c.kind.follow(ctx, f.conn, f.pace.Audit, f.changed) })
	}
}

func compareRefs(a, b ref) int {
	if a.Kind != b.Kind {
		if a.Kind < b.Kind {
			return -1
		}
		return 1
	}
	return compareNames(a.NamespacedName, b.NamespacedName)
}

func refsOf(object *unstructured.Unstructured) map[ref]placement.Ref {
	out := map[ref]placement.Ref{}
	for _, r := range placement.Follow(object) {
		out[ref{corev1.SchemeGroupVersion.WithKind(r.Kind).GroupKind(), types.NamespacedName{Namespace: r.Namespace, Name: r.Name}}] = r
	}
	return out
}

// followable are the kinds that go along.
var followable = []string{"ConfigMap", "PersistentVolumeClaim", "Secret", "ServiceAccount"}

// leftAlong are the kinds of what goes along with a workload now, or went along and may
// be in a member still: somebody has to look for it there, though nothing names it any
// more.
func (d *desk) leftAlong(w *workload, views []view) []string {
	kinds := map[string]bool{}
	if w.template.Follow {
		for r := range refsOf(w.template.Object) {
			kinds[r.Kind] = true
		}
	}
	for _, kind := range w.along {
		gone := slices.Contains(followable, kind)
		for _, v := range views {
			gone = gone && v.silent.IsZero() && d.members[v.name].shows(schema.GroupKind{Kind: kind}) && v.report.kinds[kind] == 0
		}
		if !gone {
			kinds[kind] = true
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

// Reasons of errors of of.
var errUnread = errors.New("it is not known yet what goes along")

// unreadable says which right is missing in the host cluster, and how it is granted.
func unreadable(r ref, home string) error {
	return fmt.Errorf("we may not read %s in the host cluster, which is to go along; open the namespace with \"meridian init --set workloads.follow={%[2]s}\" (name all such namespaces), or run "+
		"\"kubectl create role meridian-follow -n %[2]s --verb=get,list,watch --resource=%[3]s\" and "+
		"\"kubectl create rolebinding meridian-follow -n %[2]s --role=meridian-follow --serviceaccount=%[4]s:meridiand\"; or do without follow",
		r, r.Namespace, followResources, home)
}

// followResources are what goes along, as kubectl writes it.
const followResources = "configmaps,persistentvolumeclaims,secrets,serviceaccounts"

// of are the objects that go along with a workload, as they would be written anew,
// sorted. errUnread: nobody can say yet; any other error is for the author.
func (f *followed) of(object *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	refs := refsOf(object)
	var list []*unstructured.Unstructured
	for _, r := range slices.SortedFunc(maps.Keys(refs), compareRefs) {
		c := f.watched[r]
		if c == nil {
			return nil, fmt.Errorf("%s is beyond the %d objects that go along with workloads; let fewer workloads follow what they name", r, maxFollowed)
		}
		if err := c.kind.trouble(); !c.stock.ready() {
			if apierrors.IsForbidden(err) {
				return nil, unreadable(r, f.namespace)
			}
			return nil, errUnread
		}
		l := c.stock.get(r.NamespacedName)
		switch {
		case l == nil && refs[r].Optional:
		case l == nil:
			return nil, fmt.Errorf("it names %s, which is not in the host cluster; create it there, or do without follow", r)
		default:
			if why := placement.Portable(l.object); why != "" {
				return nil, fmt.Errorf("%s cannot go along: %s", r, why)
			}
			list = append(list, placement.Bare(l.object))
		}
	}
	return list, nil
}
