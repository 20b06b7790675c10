package apply

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/placement"
)

// Bounds of what is counted in one member.
const (
	surveyPage = 500
	maxNodes   = 20_000
	maxPods    = 500_000
)

// survey is what a member has for pods and what is taken of it. It is made anew from
// time to time, and only while some workload is divided by room.
type survey struct {
	mu    sync.Mutex
	asked bool
	nodes []placement.Node
	pods  []placement.Pod
	at    time.Time // zero: never
	tried bool      // it was tried at least once, whatever came of it
}

// want says whether anybody asks for room.
func (s *survey) want(asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = asked
}

func (s *survey) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// room is how many more such pods would find a node; negative: not known. Tried says
// that asking again brings nothing new for now.
func (s *survey) room(needs placement.Needs) (free int64, tried bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		return -1, s.tried
	}
	return placement.Room(s.nodes, s.pods, needs), true
}

// failed notes that a survey could not be made.
func (s *survey) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried = true
}

// take makes the survey anew, and leaves the last one where that fails.
func (s *survey) take(ctx context.Context, client dynamic.Interface) error {
	var nodes []placement.Node
	err := pages(ctx, client, corev1.SchemeGroupVersion.WithResource("nodes"), "", maxNodes, func(o *unstructured.Unstructured) {
		nodes = append(nodes, placement.NodeOf(o))
	})
	if err != nil {
		return err
	}
	var list []placement.Pod
	err = pages(ctx, client, corev1.SchemeGroupVersion.WithResource("pods"), "status.phase!=Succeeded,status.phase!=Failed", maxPods, func(o *unstructured.Unstructured) {
		list = append(list, placement.PodOf(o))
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes, s.pods, s.at = nodes, list, time.Now()
	return nil
}

// pages lists a kind page by page, so that no large list is ever held.
func pages(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource, field string, most int, each func(*unstructured.Unstructured)) error {
	o := metav1.ListOptions{Limit: surveyPage, FieldSelector: field}
	for n := 0; n < most; {
		list, err := client.Resource(resource).List(ctx, o)
		if err != nil {
			return err
		}
		for i := range list.Items {
			each(&list.Items[i])
		}
		n += len(list.Items)
		if o.Continue = list.GetContinue(); o.Continue == "" {
			return nil
		}
	}
	return nil
}

// surveys takes surveys until ctx ends. One that failed is tried again sooner.
func (m *member) surveys(ctx context.Context, c connection) {
	tick := time.NewTicker(m.pace.Pulse)
	defer tick.Stop()
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, silent := m.pulse.silence(); !m.survey.wanted() || silent != "" || time.Now().Before(next) {
			continue
		}
		taking, cancel := context.WithTimeout(ctx, listWithin)
		err := m.survey.take(taking, c.client)
		cancel()
		next = time.Now().Add(m.pace.Survey)
		if err != nil {
			m.survey.failed()
			next = time.Now().Add(m.pace.Survey / 6)
		}
		m.touchAll()
	}
}
