package kube

import (
	"context"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// auditPage is how many objects are asked for at once.
const auditPage = 500

// audit compares what is on the shelves with a fresh list, every now and then:
// watches lose events. Names and versions are enough for that. A difference is
// mended by listing the kind anew.
func (s *server) audit(ctx context.Context) {
	for ctx.Err() == nil {
		if !pause(ctx, s.pace.Audit*4/5+rand.N(s.pace.Audit*2/5)) {
			return
		}
		for _, k := range s.all() {
			if !k.shelf.ready() || k.trouble() != nil {
				continue // it is being listed anyway
			}
			n, err := s.compare(ctx, k)
			if err != nil || ctx.Err() != nil {
				continue // the pulse says it, if it lasts
			}
			if n > 0 {
				s.log.Warn("a watch had lost events, everything is listed anew", "kind", k.name(), "objects", n)
				k.relist()
			}
			s.audited(k, n)
		}
	}
}

// compare counts objects that the API server has otherwise than the shelf, and
// that the watch does not mend in time by itself.
func (s *server) compare(ctx context.Context, k *kind) (int, error) {
	theirs, err := s.fresh(ctx, k)
	if err != nil {
		return 0, err
	}
	suspects := map[types.NamespacedName]edition{} // as the shelf has them; zero: it has not
	ours := k.shelf.editions()
	for name, e := range theirs {
		if ours[name] != e {
			suspects[name] = ours[name]
		}
	}
	for name, e := range ours {
		if _, there := theirs[name]; !there {
			suspects[name] = e
		}
	}
	if len(suspects) == 0 || !pause(ctx, s.pace.Settle) {
		return 0, nil
	}
	// What has moved since is alive, so it was only late, or new. What has not
	// and is still otherwise there is lost.
	again, err := s.fresh(ctx, k)
	if err != nil {
		return 0, err
	}
	ours = k.shelf.editions()
	lost := 0
	for name, then := range suspects {
		if ours[name] == then && again[name] != then && again[name] == theirs[name] {
			lost++
		}
	}
	return lost, nil
}

// fresh lists names and versions as the API server has them now.
func (s *server) fresh(ctx context.Context, k *kind) (map[types.NamespacedName]edition, error) {
	out := map[types.NamespacedName]edition{}
	o := metav1.ListOptions{Limit: auditPage, FieldSelector: k.field}
	for {
		list, err := s.page(ctx, k, o)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			m := &list.Items[i]
			out[nameOf(m)] = edition{m.UID, m.ResourceVersion}
		}
		if o.Continue = list.Continue; o.Continue == "" {
			return out, nil
		}
	}
}

func (s *server) page(ctx context.Context, k *kind, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	return s.meta.Resource(k.resource).Namespace(k.namespace).List(ctx, o)
}

// pause waits and reports whether it was let wait to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
