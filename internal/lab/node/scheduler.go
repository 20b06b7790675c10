package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	schedulingcorev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// bindAtOnce is how many pods are bound at the same time.
const bindAtOnce = 16

// Scheduler binds the pods of one cluster to its nodes: to the one with the fewest
// pods of those that the pod may go to by nodeSelector, required node affinity and
// taints, the first by name among equals. Those that no node takes it marks as
// unschedulable, as a real one does. It does not count resources.
type Scheduler struct {
	client kubernetes.Interface
	line   *line
	log    *slog.Logger
	bound  map[types.UID]binding // what the informer may not have seen yet; Run's own
	stuck  map[types.UID]bool    // what no node takes and was logged; Run's own
}

// binding is what the cluster was told, and when.
type binding struct {
	node string
	at   time.Time
}

// seenWithin is when a binding that the informer does not show was undone, by a
// restored backup for example.
const seenWithin = 5 * time.Second

// NewScheduler makes the scheduler of a cluster; a nil log is silent.
func NewScheduler(cfg *rest.Config, log *slog.Logger) (*Scheduler, error) {
	client, line, err := dial(cfg)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{client: client, line: line, log: log, bound: map[types.UID]binding{}, stuck: map[types.UID]bool{}}, nil
}

// Run binds pods until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	return s.line.anew(quiet(ctx), s.watch)
}

func (s *Scheduler) watch(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(withoutManagedFields))
	pods, nodes := factory.Core().V1().Pods(), factory.Core().V1().Nodes()
	news := make(chan struct{}, 1)
	nudge := func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { nudge() },
		UpdateFunc: func(any, any) { nudge() },
		DeleteFunc: func(any) { nudge() },
	}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), nodes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	defer factory.Shutdown()
	factory.StartWithContext(ctx)
	factory.WaitForCacheSyncWithContext(ctx)
	for ctx.Err() == nil {
		allPods, err := pods.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		allNodes, err := nodes.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		var again <-chan time.Time
		placed, unplaced := s.place(allPods, allNodes, time.Now())
		if bound, told := s.bind(ctx, placed), s.tell(ctx, unplaced, len(allNodes)); !bound || !told {
			again = time.After(retry)
		} else if len(s.bound) > 0 {
			again = time.After(seenWithin)
		}
		select {
		case <-ctx.Done():
		case <-news:
		case <-again:
		}
	}
	return nil
}

// placement is a pod and the node that it shall go to.
type placement struct {
	pod  *corev1.Pod
	node string
}

// place chooses a node for each pod that has none, and returns those too that no node
// takes. The lists may be in any order.
func (s *Scheduler) place(pods []*corev1.Pod, nodes []*corev1.Node, now time.Time) (placed []placement, unplaced []*corev1.Pod) {
	load := map[string]int{}
	var waiting []*corev1.Pod
	bound, stuck := s.bound, s.stuck
	s.bound, s.stuck = map[types.UID]binding{}, map[types.UID]bool{}
	for _, p := range pods {
		on := p.Spec.NodeName
		if b, ok := bound[p.UID]; on == "" && ok && now.Sub(b.at) < seenWithin {
			on, s.bound[p.UID] = b.node, b
		}
		switch {
		case finished(p):
		case on != "":
			load[on]++
		case p.DeletionTimestamp == nil && len(p.Spec.SchedulingGates) == 0:
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range waiting {
		best := ""
		for _, n := range nodes {
			most := n.Status.Allocatable.Pods().Value()
			if int64(load[n.Name]) < most && mayGo(p, n) && (best == "" || load[n.Name] < load[best]) {
				best = n.Name
			}
		}
		if best == "" {
			s.stuck[p.UID] = true
			unplaced = append(unplaced, p)
			if !stuck[p.UID] {
				s.log.Info("no node takes a pod", "namespace", p.Namespace, "pod", p.Name, "nodes", len(nodes))
			}
			continue
		}
		load[best]++
		placed = append(placed, placement{p, best})
	}
	return placed, unplaced
}

// tell says of pods that no node takes them, where that is not said yet; false means
// that something is to be tried again.
func (s *Scheduler) tell(ctx context.Context, unplaced []*corev1.Pod, nodes int) bool {
	var calls errgroup.Group
	calls.SetLimit(bindAtOnce)
	for _, p := range unplaced {
		if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }) {
			continue
		}
		calls.Go(func() error {
			patch, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"uid": p.UID},
				"status": map[string]any{"conditions": []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
					Message: fmt.Sprintf("0/%d nodes are available", nodes), LastTransitionTime: metav1.Now(),
				}}},
			})
			if err != nil {
				return err
			}
			_, err = s.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
				return fmt.Errorf("saying that no node takes pod %s/%s: %w", p.Namespace, p.Name, err)
			}
			return nil
		})
	}
	if err := calls.Wait(); err != nil {
		s.log.Warn("marking pods", "error", err)
		return false
	}
	return true
}

// mayGo reports whether a node takes a pod.
func mayGo(p *corev1.Pod, n *corev1.Node) bool {
	match, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(n)
	if err != nil || !match {
		return false
	}
	taints := n.Spec.Taints
	if n.Spec.Unschedulable { // the controllers make it a taint too, a moment later
		taints = append(slices.Clone(taints), corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	_, refused := schedulingcorev1.FindMatchingUntoleratedTaint(klog.Background(), taints, p.Spec.Tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}, false)
	return !refused
}

// bind tells the cluster; false means that something is to be tried again.
func (s *Scheduler) bind(ctx context.Context, placed []placement) bool {
	failed := make([]bool, len(placed))
	var calls errgroup.Group
	calls.SetLimit(bindAtOnce)
	for i, p := range placed {
		calls.Go(func() error {
			err := s.client.CoreV1().Pods(p.pod.Namespace).Bind(ctx, &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Name: p.pod.Name, Namespace: p.pod.Namespace, UID: p.pod.UID},
				Target:     corev1.ObjectReference{Kind: "Node", Name: p.node},
			}, metav1.CreateOptions{})
			if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				failed[i] = true
				return fmt.Errorf("binding pod %s/%s to %s: %w", p.pod.Namespace, p.pod.Name, p.node, err)
			}
			return nil
		})
	}
	if err := calls.Wait(); err != nil {
		s.log.Warn("binding pods", "error", err) // the first; they mostly say the same
	}
	for i, p := range placed {
		if !failed[i] {
			s.bound[p.pod.UID] = binding{p.node, time.Now()}
		}
	}
	return !slices.Contains(failed, true)
}
