package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

const ingressesPath = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"

func ingress(name, class, host, tls string) string {
	return fmt.Sprintf(`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: %s}, spec: {ingressClassName: %s, %s
rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}]}}`, name, class, tls, host)
}

// certificate issues a server's certificate for a host.
func certificate(t *testing.T, host string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// A diary of the host cluster, which is a member too.
func TestHost(t *testing.T) {
	host := sites(t, "host")["host"]
	host.install(t)
	host.service(t, "shop", federated, "10.2.0.1")
	host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: here}, spec: {region: eu, place: {lat: "50", lon: "4"}}}`)
	host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: dead}, spec: {region: us, place: {lat: "40", lon: "-70"}, credentialsRef: {name: dead}}}`)
	k := newKeeper()
	known := []fleet.Update{{Source: "i/kube/left", Put: []fleet.Fact{fleet.NewFact("left/default/a", &fleet.Backend{Cluster: "left"})}}}
	k.tell(t.Context(), known[0])
	started(t, Config{Host: host.REST(), Member: "here", Known: known, Tell: k.tell})
	const source = "i/kube/host"

	step(t, "clusters come, dead or not, and those that left are gone", func(t *testing.T) {
		k.want(t, source, "cluster dead", "cluster here")
		k.want(t, "i/kube/here", "backend here/default/shop 10.2.0.1")
		k.want(t, "i/kube/left")
		k.wantStale(t, "i/kube/dead", "the Secret meridian-system/dead does not exist")
		host.credentials(t, "dead", []byte(strings.ReplaceAll(string(host.Kubeconfig()), "10.1.0.1", "10.1.0.77")))
		k.wantStale(t, "i/kube/dead", "the API server of dead does not answer since")
		k.want(t, "i/kube/dead")
	})
	step(t, "classes decide whose an Ingress is", func(t *testing.T) {
		host.post(t, ingressesPath, ingress("shop", "meridian", "shop.example.com", ""))
		host.post(t, ingressesPath, ingress("other", "nginx", "other.example.com", ""))
		host.post(t, ingressesPath, ingress("edge", "edge", "edge.example.com", ""))
		k.want(t, source, "cluster dead", "cluster here", "route ingress/default/shop shop.example.com/ -> default/shop")
		host.post(t, "/apis/networking.k8s.io/v1/ingressclasses", `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: edge}, spec: {controller: meridian.dev/ingress}}`)
		k.want(t, source, "cluster dead", "cluster here", "route ingress/default/edge edge.example.com/ -> default/shop", "route ingress/default/shop shop.example.com/ -> default/shop")
		host.delete(t, ingressesPath+"/edge")
		k.want(t, source, "cluster dead", "cluster here", "route ingress/default/shop shop.example.com/ -> default/shop")
		host.delete(t, ingressesPath+"/shop")
		k.want(t, source, "cluster dead", "cluster here")
	})
	step(t, "certificates are followed, and no other Secret", func(t *testing.T) {
		host.post(t, ingressesPath, ingress("shop", "meridian", "shop.example.com", "tls: [{hosts: [shop.example.com], secretName: shop-tls}],"))
		route := "route ingress/default/shop shop.example.com/ -> default/shop default/shop-tls"
		k.want(t, source, "cluster dead", "cluster here", route)
		secrets := host.admin.CoreV1().Secrets("default")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shop-tls"}, Type: corev1.SecretTypeTLS, Data: certificate(t, "shop.example.com")}
		if _, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		k.want(t, source, "certificate default/shop-tls", "cluster dead", "cluster here", route)
		before := k.certificate(source)
		secret.Data = certificate(t, "shop.example.com")
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		k.until(t, func() error {
			if k.certificate(source) == before {
				return fmt.Errorf("the certificate has not been renewed")
			}
			return nil
		})
		secret.Data[corev1.TLSCertKey] = []byte("rubbish")
		if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		k.wantProblem(t, source, "Secret default/shop-tls in host: InvalidCertificate")
		k.want(t, source, "certificate default/shop-tls", "cluster dead", "cluster here", route)
		host.delete(t, "/api/v1/namespaces/default/secrets/shop-tls")
		k.want(t, source, "cluster dead", "cluster here", route)
		host.delete(t, ingressesPath+"/shop")
		k.want(t, source, "cluster dead", "cluster here")
	})
	step(t, "a silent host cluster takes nothing away", func(t *testing.T) {
		if err := host.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		k.wantStale(t, source, "the API server of host does not answer since")
		k.want(t, source, "cluster dead", "cluster here")
		k.want(t, "i/kube/here", "backend here/default/shop 10.2.0.1")
		if err := host.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		k.wantStale(t, source, "")
		host.delete(t, clustersPath+"/dead")
		k.want(t, source, "cluster here")
	})
}

func (k *keeper) certificate(source string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range k.facts[source] {
		if c, ok := v.(*fleet.Certificate); ok {
			return string(c.Chain)
		}
	}
	return ""
}

// What became of objects is written back to them.
func TestStatus(t *testing.T) {
	host := sites(t, "host")["host"]
	host.install(t)
	host.service(t, "shop", federated, "10.2.0.1", "10.2.0.2")
	host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: here}, spec: {region: eu, place: {lat: "50", lon: "4"}, gateways: [{address: 192.0.2.1}]}}`)
	host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: nowhere}, spec: {region: us, place: {lat: "1", lon: "1"}, endpointNetworks: [10.0.0.1/8], credentialsRef: {name: nowhere}}}`)
	host.post(t, "/apis/meridian.dev/v1alpha1/zones", `{apiVersion: meridian.dev/v1alpha1, kind: Zone, metadata: {name: example.com}, spec: {nameservers: [{name: ns.example.net}]}}`)
	host.post(t, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: late}}`)

	b := &brain{keeper: newKeeper()}
	i := b.start(t, Config{Host: host.REST(), Member: "here"})
	host.post(t, ingressesPath, ingress("shop", "meridian", "shop.example.com", ""))
	eventually(t, func() error { // the second one is later, by a whole second as API servers count
		ing, err := host.admin.NetworkingV1().Ingresses("default").Get(t.Context(), "shop", metav1.GetOptions{})
		if err == nil && time.Since(ing.CreationTimestamp.Time) < 1100*time.Millisecond {
			err = fmt.Errorf("not late yet")
		}
		return err
	})
	host.post(t, strings.Replace(ingressesPath, "default", "late", 1), ingress("thief", "meridian", "shop.example.com", ""))

	step(t, "an Ingress shows where it is served", func(t *testing.T) {
		eventually(t, func() error {
			ing, err := host.admin.NetworkingV1().Ingresses("default").Get(t.Context(), "shop", metav1.GetOptions{})
			if err != nil {
				return err
			}
			list := ing.Status.LoadBalancer.Ingress
			if len(list) != 2 || list[0].IP != "192.0.2.1" || list[1].Hostname != "shop.example.com" {
				return fmt.Errorf("it shows %+v", list)
			}
			return nil
		})
	})
	step(t, "an Ingress that leaves for nobody shows nothing, one that leaves for another controller what that wrote", func(t *testing.T) {
		shown := func(name string) []networkingv1.IngressLoadBalancerIngress {
			ing, err := host.admin.NetworkingV1().Ingresses("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return ing.Status.LoadBalancer.Ingress
		}
		until := func(name string, addresses ...string) {
			t.Helper()
			eventually(t, func() error {
				var got []string
				for _, a := range shown(name) {
					got = append(got, a.IP+a.Hostname)
				}
				if !slices.Equal(got, addresses) {
					return fmt.Errorf("%s shows %q, want %q", name, got, addresses)
				}
				return nil
			})
		}
		for _, name := range []string{"leaver", "taken", "foreign"} {
			class := map[bool]string{true: "meridian", false: "other"}[name != "foreign"]
			host.post(t, ingressesPath, ingress(name, class, name+".example.com", ""))
		}
		until("leaver", "192.0.2.1", "leaver.example.com")
		until("taken", "192.0.2.1", "taken.example.com")
		// Another controller's words stay, be they the same as ours.
		for _, name := range []string{"taken", "foreign"} {
			host.patch(t, ingressesPath+"/"+name+"/status", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`)
			if name == "taken" {
				until("taken", "192.0.2.1", "taken.example.com") // it still is ours, so we say it again
			}
		}
		host.patch(t, ingressesPath+"/leaver", `{"spec":{"ingressClassName":null}}`)
		until("leaver")
		host.patch(t, ingressesPath+"/taken", `{"spec":{"ingressClassName":"other"}}`)
		until("taken")
		host.patch(t, ingressesPath+"/taken/status", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`)
		i.scribe.poke()
		host.patch(t, ingressesPath+"/leaver", `{"spec":{"ingressClassName":"meridian"}}`) // later than the scribe's next look at the others
		until("leaver", "192.0.2.1", "leaver.example.com")
		until("taken", "192.0.2.1")
		until("foreign", "192.0.2.1")
		for _, name := range []string{"leaver", "taken", "foreign"} {
			host.delete(t, ingressesPath+"/"+name)
		}
	})
	step(t, "a conflict is an Event, and shows nothing", func(t *testing.T) {
		eventually(t, func() error {
			events, err := host.admin.CoreV1().Events("late").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(events.Items) != 1 || events.Items[0].Reason != "HostConflict" || events.Items[0].InvolvedObject.Name != "thief" {
				return fmt.Errorf("%w, events %+v", err, events)
			}
			return nil
		})
		ing, err := host.admin.NetworkingV1().Ingresses("late").Get(t.Context(), "thief", metav1.GetOptions{})
		if err != nil || len(ing.Status.LoadBalancer.Ingress) > 0 {
			t.Errorf("%v, it shows %+v", err, ing.Status)
		}
	})
	step(t, "a Cluster's line is like a dashboard", func(t *testing.T) {
		host.wantCluster(t, "here", func(c *v1alpha1.Cluster) error {
			s := c.Status
			if s.Health != "Unknown" || s.Services != 1 || s.Endpoints != "2/2" || s.LastSeen == nil || s.ObservedGeneration != 1 ||
				!meta.IsStatusConditionTrue(s.Conditions, "Accepted") || !meta.IsStatusConditionTrue(s.Conditions, "ResolvedRefs") {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		host.wantCluster(t, "nowhere", func(c *v1alpha1.Cluster) error {
			if a := meta.FindStatusCondition(c.Status.Conditions, "Accepted"); a == nil || a.Status != "False" || a.Reason != "InvalidField" || !strings.Contains(a.Message, "beyond its length") {
				return fmt.Errorf("%+v", c.Status)
			}
			return nil
		})
	})
	step(t, "nothing changes, nothing is written", func(t *testing.T) {
		version := func() string {
			all := ""
			for _, name := range []string{"here", "nowhere"} {
				all += " " + host.cluster(t, name).ResourceVersion
			}
			return all
		}
		before := version()
		for range 20 {
			i.scribe.poke()
			host.endpoints(t, "shop", "10.2.0.1", "10.2.0.2")
		}
		if after := version(); before != after {
			t.Errorf("versions went from %s to %s", before, after)
		}
		host.endpoints(t, "shop", "10.2.0.1", "10.2.0.2", "10.2.0.3")
		host.wantCluster(t, "here", func(c *v1alpha1.Cluster) error {
			if c.Status.Endpoints != "3/3" {
				return fmt.Errorf("%+v", c.Status)
			}
			return nil
		})
	})
	step(t, "a mended object is accepted, a removed service is missed", func(t *testing.T) {
		host.patch(t, clustersPath+"/nowhere", `{"spec":{"endpointNetworks":["10.0.0.0/8"]}}`)
		host.wantCluster(t, "nowhere", func(c *v1alpha1.Cluster) error {
			if !meta.IsStatusConditionTrue(c.Status.Conditions, "Accepted") || c.Status.ObservedGeneration != 2 || c.Status.Health != "Stale" {
				return fmt.Errorf("%+v", c.Status)
			}
			if r := meta.FindStatusCondition(c.Status.Conditions, "ResolvedRefs"); r.Status != "False" || r.Reason != "CredentialsNotFound" {
				return fmt.Errorf("%+v", r)
			}
			return nil
		})
		host.delete(t, "/api/v1/namespaces/default/services/shop")
		eventually(t, func() error {
			events, err := host.admin.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
			if err != nil || !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == "ServiceNotFound" }) {
				return fmt.Errorf("%w, %d events", err, len(events.Items))
			}
			return nil
		})
	})
}

func (s *site) cluster(t *testing.T, name string) *v1alpha1.Cluster {
	t.Helper()
	c, err := s.clusterOrNot(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) clusterOrNot(ctx context.Context, name string) (*v1alpha1.Cluster, error) {
	data, err := s.rest().Get().AbsPath(clustersPath + "/" + name).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	c := &v1alpha1.Cluster{}
	return c, json.Unmarshal(data, c)
}

func (s *site) wantCluster(t *testing.T, name string, f func(*v1alpha1.Cluster) error) {
	t.Helper()
	eventually(t, func() error {
		c, err := s.clusterOrNot(t.Context(), name)
		if err != nil {
			return err
		}
		return f(c)
	})
}

// brain stands for the hub: it makes plans of what is told, with the faults that
// only the whole shows.
type brain struct {
	*keeper
	mu sync.Mutex
	i  *Installation
}

func (b *brain) tell(ctx context.Context, u fleet.Update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keeper.tell(ctx, u)
	b.i.Update(steer.New(b.snapshot()))
}

func (b *brain) snapshot() *fleet.Snapshot {
	s := fleet.EmptySnapshot()
	b.keeper.mu.Lock()
	defer b.keeper.mu.Unlock()
	var sets []*fleet.RouteSet
	for source, facts := range b.facts {
		s.Sources = append(s.Sources, fleet.SourceState{Name: source, Facts: len(facts), Stale: b.stale[source]})
		for _, v := range facts {
			switch v := v.(type) {
			case fleet.Problems:
				s.Problems = append(s.Problems, v...)
			case *fleet.Zone:
				s.Zones = append(s.Zones, *v)
			case *fleet.RouteSet:
				sets = append(sets, v)
			case *fleet.Backend:
				s.Services[v.Service] = &fleet.Service{Name: v.Service, Backends: []fleet.BackendView{{Backend: v}}}
			case *fleet.Cluster:
				e := &fleet.Edge{Region: v.At.Region, Clusters: []*fleet.Cluster{v}}
				for _, g := range v.Gateways {
					e.Gateways = append(e.Gateways, fleet.GatewayView{Gateway: g, Cluster: v.Name})
				}
				s.World.Edges = append(s.World.Edges, e)
			}
		}
	}
	slices.SortFunc(sets, func(a, b *fleet.RouteSet) int { return a.Origin.Compare(b.Origin) })
	owner := map[string]fleet.Claim{}
	for _, set := range sets {
		for _, r := range set.Routes {
			if c, ok := owner[r.Host]; !ok || set.Claim(r.Host).Compare(c) < 0 {
				owner[r.Host] = set.Claim(r.Host)
			}
		}
	}
	hosts := map[string]*fleet.Host{}
	for _, set := range sets {
		for _, r := range set.Routes {
			h := hosts[r.Host]
			switch {
			case owner[r.Host].By.Namespace == r.Origin.Namespace && h == nil:
				hosts[r.Host] = &fleet.Host{Name: r.Host, Routes: []fleet.Route{r}}
			case owner[r.Host].By.Namespace != r.Origin.Namespace:
				s.Problems = append(s.Problems, fleet.Problem{About: r.Origin, Reason: "HostConflict", Message: "the host belongs to another namespace"})
				continue
			default:
				h.Routes = append(h.Routes, r)
			}
			if s.Services[r.To[0].Service] == nil {
				s.Problems = append(s.Problems, fleet.Problem{About: r.Origin, Reason: "ServiceNotFound", Message: "no cluster has the service"})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		s.Routes.Hosts = append(s.Routes.Hosts, *hosts[name])
	}
	slices.SortFunc(s.Problems, fleet.Problem.Compare)
	return s
}

func (b *brain) start(t *testing.T, cfg Config) *Installation {
	t.Helper()
	b.begin(t, cfg)
	return b.i
}

func (b *brain) begin(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	cfg.Tell = b.tell
	b.i = installed(t, &cfg)
	return run(t, b.i)
}
