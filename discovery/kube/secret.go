package kube

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// maxSecrets bounds how many Secrets are watched, each by a watch of its own.
const maxSecrets = 2000

// secrets are those that other objects name. Each is watched alone, so that no
// other Secret of the cluster ever comes here.
type secrets struct {
	watched map[types.NamespacedName]*secret
	changed func()
}

type secret struct {
	kind  *kind
	shelf *shelf[*corev1.Secret]
}

func newSecrets(changed func()) *secrets {
	return &secrets{watched: map[types.NamespacedName]*secret{}, changed: changed}
}

// want watches just these from now on. It returns those that are beyond the bound.
func (s *secrets) want(server *server, names map[types.NamespacedName]bool) []types.NamespacedName {
	for name, w := range s.watched {
		if !names[name] {
			server.drop(w.kind)
			delete(s.watched, name)
		}
	}
	var beyond []types.NamespacedName
	for _, name := range slices.SortedFunc(maps.Keys(names), compareNames) {
		switch {
		case s.watched[name] != nil:
		case len(s.watched) >= maxSecrets:
			beyond = append(beyond, name)
		default:
			w := &secret{shelf: &shelf[*corev1.Secret]{
				strip:   func(o *corev1.Secret) { stripMeta(o) },
				changed: func([]change[*corev1.Secret], bool) { s.changed() },
			}}
			w.kind = &kind{resource: corev1.SchemeGroupVersion.WithResource("secrets"), object: &corev1.Secret{},
				optional: true, single: true, namespace: name.Namespace, field: "metadata.name=" + name.Name, shelf: w.shelf}
			s.watched[name] = w
			server.add(w.kind)
		}
	}
	return beyond
}

// get finds a Secret. Known is false while nobody can say whether it exists.
func (s *secrets) get(name types.NamespacedName) (o *corev1.Secret, known bool) {
	w := s.watched[name]
	if w == nil {
		return nil, false
	}
	o, _ = w.shelf.get(name.Namespace, name.Name)
	return o, w.shelf.ready()
}

// denied reports whether we may not read a Secret.
func (s *secrets) denied(name types.NamespacedName) bool {
	w := s.watched[name]
	return w != nil && apierrors.IsForbidden(w.kind.trouble())
}

// unreadable says why a Secret cannot be read, or not anew, though the API server has
// had time for it and answers otherwise; empty: it can, or who knows.
func (s *secrets) unreadable(server *server, name types.NamespacedName) string {
	w := s.watched[name]
	if w == nil || w.kind.settled() && !w.kind.lasting(2*server.pace.Timeout) || w.kind.missing() || !server.overdue(w.kind) {
		return ""
	}
	if _, err := server.pulse.trouble(); err != nil {
		return "" // that is no fault of the Secret
	}
	if err := w.kind.trouble(); err != nil {
		return reason(err)
	}
	return "no answer yet"
}

// late counts the Secrets that cannot be read. They tell nobody when they become so.
func (s *secrets) late(server *server) int {
	n := 0
	for name := range s.watched {
		if s.unreadable(server, name) != "" {
			n++
		}
	}
	return n
}

// waited reports whether no Secret keeps anybody waiting any more.
func (s *secrets) waited(server *server) bool {
	for _, w := range s.watched {
		if !w.kind.settled() && !server.overdue(w.kind) {
			return false
		}
	}
	return true
}
