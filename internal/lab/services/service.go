// Package services makes the Services of a lab cluster work: it answers their names, and carries what comes to their addresses to pods.
//
// In a cluster several programs share this: a name server, a proxy on every node, and
// the cloud's load balancers. Here one does it for all nodes. Its addresses are local
// in a network made by package netns, and the connections that it makes come from the
// address of whoever made those that it carries.
package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Config says for which cluster, and where.
type Config struct {
	REST  *rest.Config // an admin of the cluster; required
	Names netip.Addr   // where the cluster's name server answers, at port 53; required
	// Balance says where the load balancer of a Service stands; nil, or a zero Front:
	// none is given. It is asked again whenever something changes.
	Balance func(types.NamespacedName) Front
	Log     *slog.Logger // nil means silent
}

// Front is one load balancer.
type Front struct {
	Public netip.Addr // what the Service's status says
	Listen netip.Addr // where it listens; zero: at Public. Something that stands before it may have Public to itself
}

func (f Front) listen() netip.Addr {
	if f.Listen.IsValid() {
		return f.Listen
	}
	return f.Public
}

// Services is the network of one cluster.
type Services struct {
	cfg    Config
	log    *slog.Logger
	client kubernetes.Interface
	news   chan struct{} // something to look at; holds one

	services corelisters.ServiceLister // set before anybody reads
	slices   discoverylisters.EndpointSliceLister
	doors    map[spot]*door // Run's own
}

// New prepares to run.
func New(cfg Config) (*Services, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !cfg.Names.IsValid() {
		return nil, errors.New("the Services of a cluster need an address for its name server")
	}
	quiet := rest.CopyConfig(cfg.REST)
	quiet.QPS = -1
	quiet.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(quiet)
	if err != nil {
		return nil, err
	}
	return &Services{cfg: cfg, log: cfg.Log, client: client, news: make(chan struct{}, 1), doors: map[spot]*door{}}, nil
}

// Run works until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(klog.NewContext(ctx, logr.Discard()))
	factory := informers.NewSharedInformerFactory(s.client, 0)
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	nudge := func(any) {
		select {
		case s.news <- struct{}{}:
		default: // it will look anyway
		}
	}
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), endpoints.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: nudge, UpdateFunc: func(_, o any) { nudge(o) }, DeleteFunc: nudge}); err != nil {
			return err
		}
	}
	s.services, s.slices = services.Lister(), endpoints.Lister()
	defer factory.Shutdown()
	factory.StartWithContext(ctx)
	factory.WaitForCacheSyncWithContext(ctx)
	group.Go(func() error { return s.answer(ctx) })
	group.Go(func() error { return s.carry(ctx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("the Services of %s: %w", s.cfg.REST.Host, err)
	}
	return nil
}

// carry has doors open just where Services have addresses, until ctx ends.
func (s *Services) carry(ctx context.Context) error {
	defer func() {
		for _, d := range s.doors {
			d.shut()
		}
	}()
	for {
		want, err := s.wanted(ctx)
		if err != nil {
			return err
		}
		for at, d := range s.doors {
			if _, stays := want[at]; !stays {
				d.shut()
				delete(s.doors, at)
			}
		}
		for at, pods := range want {
			d := s.doors[at]
			if d == nil {
				if d, err = open(ctx, at, s.log); err != nil {
					return fmt.Errorf("listening at %s %s for a Service: %w", at.protocol, at.addr, err)
				}
				s.doors[at] = d
			}
			d.lead(pods)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.news:
		}
	}
}

// spot is where a Service listens.
type spot struct {
	protocol corev1.Protocol
	addr     netip.AddrPort
}

// wanted are the pods behind every address of every Service, which may be none.
func (s *Services) wanted(ctx context.Context) (map[spot][]netip.AddrPort, error) {
	all, err := s.services.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	want := map[spot][]netip.AddrPort{}
	for _, svc := range all {
		var at []netip.Addr
		if addr, err := netip.ParseAddr(svc.Spec.ClusterIP); err == nil {
			at = append(at, addr)
		}
		if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && s.cfg.Balance != nil {
			front := s.cfg.Balance(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name})
			if front.Public.IsValid() {
				at = append(at, front.listen())
				if err := s.tell(ctx, svc, front.Public); err != nil {
					return nil, err
				}
			}
		}
		for _, port := range svc.Spec.Ports {
			pods := s.behind(svc, port)
			for _, addr := range at {
				want[spot{port.Protocol, netip.AddrPortFrom(addr, uint16(port.Port))}] = pods
			}
		}
	}
	return want, nil
}

// behind are the ready pods that a port of a Service leads to, sorted.
func (s *Services) behind(svc *corev1.Service, port corev1.ServicePort) []netip.AddrPort {
	var pods []netip.AddrPort
	s.each(svc, func(slice *discoveryv1.EndpointSlice, e discoveryv1.Endpoint, addr netip.Addr) {
		for _, p := range slice.Ports {
			if p.Port != nil && p.Name != nil && *p.Name == port.Name && p.Protocol != nil && *p.Protocol == port.Protocol {
				pods = append(pods, netip.AddrPortFrom(addr, uint16(*p.Port)))
			}
		}
	})
	slices.SortFunc(pods, netip.AddrPort.Compare)
	return slices.Compact(pods)
}

// each calls f with every ready address of a Service.
func (s *Services) each(svc *corev1.Service, f func(*discoveryv1.EndpointSlice, discoveryv1.Endpoint, netip.Addr)) {
	list, err := s.slices.EndpointSlices(svc.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: svc.Name}))
	if err != nil {
		return // only for a selector that is none
	}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, text := range e.Addresses {
				if addr, err := netip.ParseAddr(text); err == nil {
					f(slice, e, addr)
				}
			}
		}
	}
}

// tell writes the address of its load balancer into a Service.
func (s *Services) tell(ctx context.Context, svc *corev1.Service, public netip.Addr) error {
	if in := svc.Status.LoadBalancer.Ingress; len(in) == 1 && in[0].IP == public.String() {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": svc.UID},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": []corev1.LoadBalancerIngress{{IP: public.String()}}}},
	})
	if err != nil {
		return err
	}
	_, err = s.client.CoreV1().Services(svc.Namespace).Patch(ctx, svc.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.log.Warn("telling a Service its address; it is told with the next news", "service", svc.Name, "error", err)
	}
	return nil
}
