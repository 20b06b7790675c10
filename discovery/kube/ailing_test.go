package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// A diary of one Secret that cannot be read, and of kinds that do not come: nothing
// else of the host waits for them for ever, and nothing of them is lost.
func TestOneAilingThingHoldsUpNothingElse(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	eu.service(t, "shop", federated, "10.2.0.1")
	us.service(t, "shop", federated, "10.3.0.1")
	host.join(t, "eu", eu.Kubeconfig())
	host.join(t, "us", us.Kubeconfig())
	for _, name := range []string{"shop", "cart"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeTLS, Data: certificate(t, name+".example.com")}
		if _, err := host.admin.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		host.post(t, ingressesPath, ingress(name, "meridian", name+".example.com", "tls: [{hosts: ["+name+".example.com], secretName: "+name+"}],"))
	}
	host.post(t, "/apis/meridian.dev/v1alpha1/namespaces/default/trafficpolicies", `{apiVersion: meridian.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: shop}, spec: {targetRefs: [{kind: Service, name: shop}], strategy: geo}}`)
	p := before(t, host)
	dir, empty, k := t.TempDir(), t.TempDir(), newKeeper()
	begin := func() (stop func()) {
		k = k.again()
		return started(t, Config{Host: p.rest(), Tell: k.tell, Known: k.known(), Dir: dir})
	}
	stop := begin()
	const source = "i/kube/host"
	routes := []string{"route ingress/default/cart cart.example.com/ -> default/shop default/cart", "route ingress/default/shop shop.example.com/ -> default/shop default/shop"}
	everything := append([]string{"certificate default/cart", "certificate default/shop", "cluster eu", "cluster us", "policy default/shop"}, routes...)
	k.want(t, source, everything...)
	k.wantStale(t, source, "")
	k.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.1")
	k.want(t, "i/kube/us", "backend us/default/shop 10.3.0.1")
	wantOnDisk(t, dir, map[string]string{"eu": string(eu.Kubeconfig()), "us": string(us.Kubeconfig())})

	for _, how := range []string{"500", "hangs"} {
		step(t, "Secrets cannot be read from the start: "+how, func(t *testing.T) {
			stop()
			p.ail("metadata.name%3Dshop", how) // the certificate
			p.ail("metadata.name%3Deu", how)   // the credentials
			host.post(t, "/apis/meridian.dev/v1alpha1/zones", `{apiVersion: meridian.dev/v1alpha1, kind: Zone, metadata: {name: example.com}, spec: {nameservers: [{name: ns.example.net}]}}`)
			addr := map[string]string{"500": "10.2.0.2", "hangs": "10.2.0.3"}[how]
			eu.endpoints(t, "shop", addr)
			us.endpoints(t, "shop", "10.3"+addr[4:])
			stop = begin()
			k.want(t, source, append(everything[:5:5], append(routes[:2:2], "zone example.com.")...)...)
			k.wantStale(t, source, "")
			k.wantProblem(t, source, "Secret default/shop in host: Unreadable: the Secret default/shop cannot be read")
			k.wantProblem(t, "i/kube/eu", "Cluster eu in host: Unreadable: spec.credentialsRef: the Secret "+v1alpha1.HostNamespace+"/eu cannot be read")
			k.want(t, "i/kube/us", "backend us/default/shop 10.3"+addr[4:])
			k.want(t, "i/kube/eu", "backend eu/default/shop "+addr) // by what is remembered of it
			k.wantStale(t, "i/kube/eu", "")
			wantOnDisk(t, dir, map[string]string{"eu": string(eu.Kubeconfig()), "us": string(us.Kubeconfig())})
			host.delete(t, "/apis/meridian.dev/v1alpha1/zones/example.com")
			k.want(t, source, everything...)
		})
		step(t, "and mends: "+how, func(t *testing.T) {
			p.ail("metadata.name%3Dshop", "")
			p.ail("metadata.name%3Deu", "")
			k.wantNoProblem(t, source)
			k.wantNoProblem(t, "i/kube/eu")
			k.want(t, source, everything...)
		})
	}
	step(t, "a Secret that ails later is named, and makes nothing else old", func(t *testing.T) {
		p.ail("metadata.name%3Dshop", "500")
		k.wantProblem(t, source, "Secret default/shop in host: Unreadable")
		k.want(t, source, everything...)
		k.wantStale(t, source, "")
		p.ail("metadata.name%3Dshop", "")
		k.wantNoProblem(t, source)
	})
	for _, how := range []string{"500", "hangs"} {
		step(t, "Ingresses do not come from the start: "+how, func(t *testing.T) {
			stop()
			p.ail("/ingresses?", how)
			host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: new}, spec: {region: us, place: {lat: "40", lon: "-70"}}}`)
			host.delete(t, "/apis/meridian.dev/v1alpha1/namespaces/default/trafficpolicies/shop")
			stop = begin()
			k.want(t, source, append([]string{"certificate default/cart", "certificate default/shop", "cluster eu", "cluster new", "cluster us"}, routes...)...)
			k.wantStale(t, source, "ingresses.networking.k8s.io")
			if how == "hangs" {
				eu.endpoints(t, "shop", "10.2.0.9")
				k.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.9")
			}
			host.delete(t, clustersPath+"/new")
			host.post(t, "/apis/meridian.dev/v1alpha1/namespaces/default/trafficpolicies", `{apiVersion: meridian.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: shop}, spec: {targetRefs: [{kind: Service, name: shop}], strategy: geo}}`)
			k.want(t, source, everything...)
			host.delete(t, ingressesPath+"/cart") // which nobody sees
			p.ail("/ingresses?", "")
			k.want(t, source, "certificate default/shop", "cluster eu", "cluster us", "policy default/shop", routes[1])
			k.wantStale(t, source, "")
			host.post(t, ingressesPath, ingress("cart", "meridian", "cart.example.com", "tls: [{hosts: [cart.example.com], secretName: cart}],"))
			k.want(t, source, everything...)
		})
	}
	step(t, "who remembers nothing waits for policies, which may forbid things", func(t *testing.T) {
		stop()
		p.ail("/trafficpolicies?", "500")
		k, dir = newKeeper(), empty
		stop = begin()
		k.wantStale(t, source, "trafficpolicies.meridian.dev")
		k.want(t, source)
		p.ail("/trafficpolicies?", "")
		k.want(t, source, everything...)
		k.wantStale(t, source, "")
	})
}

// The same of a member: what an ailing kind would say stays as it is, the rest is told.
func TestOneAilingKindOfAMember(t *testing.T) {
	all := sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	const exports = "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceexports"
	eu.apply(t, ofModule(t, "sigs.k8s.io/mcs-api", "config/crd/multicluster.x-k8s.io_serviceexports.yaml")...)
	eu.post(t, "/api/v1/nodes", `{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: eu-a}}}`)
	for _, name := range []string{"shop", "cart", "gone"} {
		eu.service(t, name, nil, "10.2.0.1")
	}
	eu.patch(t, "/api/v1/namespaces/default/services/shop", `{"metadata":{"labels":{"meridian.dev/federate":"true"}}}`)
	eu.patch(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/shop-1", `{"endpoints":[{"addresses":["10.2.0.1"],"nodeName":"n1"}]}`)
	for _, name := range []string{"cart", "gone"} {
		eu.post(t, exports, "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: {name: "+name+"}}")
	}
	p := before(t, eu)
	host.join(t, "eu", p.kubeconfig())
	k := newKeeper()
	begin := func() (stop func()) {
		k = k.again()
		return started(t, Config{Host: host.REST(), Tell: k.tell, Known: k.known(), Loopback: true})
	}
	stop := begin()
	const source = "i/kube/eu"
	k.want(t, source, "backend eu/default/cart 10.2.0.1", "backend eu/default/gone 10.2.0.1", "backend eu/default/shop 10.2.0.1@eu-a")
	k.wantStale(t, source, "")

	for _, how := range []string{"500", "hangs"} {
		step(t, "exports and nodes do not come: "+how, func(t *testing.T) {
			stop()
			p.ail("/serviceexports?", how)
			p.ail("/nodes?", how)
			eu.delete(t, "/api/v1/namespaces/default/services/gone")
			eu.patch(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/shop-1", `{"endpoints":[{"addresses":["10.2.0.1"],"nodeName":"n1"},{"addresses":["10.2.0.2"],"nodeName":"n1"}]}`)
			stop = begin()
			k.want(t, source, "backend eu/default/cart 10.2.0.1", "backend eu/default/shop 10.2.0.1@eu-a,10.2.0.2")
			k.wantStale(t, source, "serviceexports.multicluster.x-k8s.io")
			eu.delete(t, exports+"/cart") // which nobody sees
			eu.patch(t, "/api/v1/namespaces/default/services/cart", `{"metadata":{"annotations":{"a":"b"}}}`)
			eu.endpoints(t, "shop", "10.2.0.4")
			k.want(t, source, "backend eu/default/cart 10.2.0.1", "backend eu/default/shop 10.2.0.4")
		})
		step(t, "and come: "+how, func(t *testing.T) {
			p.ail("/serviceexports?", "")
			p.ail("/nodes?", "")
			k.want(t, source, "backend eu/default/shop 10.2.0.4")
			k.wantStale(t, source, "")
			eu.post(t, "/api/v1/namespaces/default/services", `{apiVersion: v1, kind: Service, metadata: {name: gone}, spec: {ports: [{name: http, port: 80}]}}`)
			eu.post(t, exports, "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: {name: cart}}")
			eu.post(t, exports, "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: {name: gone}}")
			eu.patch(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/shop-1", `{"endpoints":[{"addresses":["10.2.0.1"],"nodeName":"n1"}]}`)
			k.want(t, source, "backend eu/default/cart 10.2.0.1", "backend eu/default/gone 10.2.0.1", "backend eu/default/shop 10.2.0.1@eu-a")
		})
	}
	step(t, "endpoints do not come: nothing is told, nothing goes", func(t *testing.T) {
		stop()
		p.ail("/endpointslices?", "500")
		stop = begin()
		k.wantStale(t, source, "endpointslices.discovery.k8s.io")
		k.want(t, source, "backend eu/default/cart 10.2.0.1", "backend eu/default/gone 10.2.0.1", "backend eu/default/shop 10.2.0.1@eu-a")
		k.want(t, "i/kube/host", "cluster eu")
		p.ail("/endpointslices?", "")
		k.wantStale(t, source, "")
	})
}

// A kind that the API server did not know, and then cannot show, holds up nothing.
func TestAKindThatBeginsWithAnError(t *testing.T) {
	eu := sites(t, "eu")["eu"]
	eu.service(t, "shop", federated, "10.2.0.1")
	eu.service(t, "cart", federated, "10.2.0.9")
	p := before(t, eu)
	k := newKeeper()
	watchedBy(t, eu.Name(), p.kubeconfig(), k, quick(), nil)
	const source = "i/kube/eu"
	k.want(t, source, "backend eu/default/cart 10.2.0.9", "backend eu/default/shop 10.2.0.1")
	k.wantStale(t, source, "")
	p.ail("/serviceexports?", "500")
	k.wantStale(t, source, "serviceexports.multicluster.x-k8s.io")
	eu.endpoints(t, "shop", "10.2.0.2")
	eu.patch(t, "/api/v1/namespaces/default/services/cart", `{"metadata":{"labels":{"meridian.dev/federate":null}}}`)
	k.want(t, source, "backend eu/default/cart 10.2.0.9", "backend eu/default/shop 10.2.0.2") // an export may be why
	p.ail("/serviceexports?", "")
	k.want(t, source, "backend eu/default/shop 10.2.0.2")
	k.wantStale(t, source, "")
}
