package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A diary of one member, watched from a host cluster.
func TestMember(t *testing.T) {
	all := sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	eu.service(t, "shop", federated, "10.2.0.1", "10.2.0.2")
	eu.service(t, "private", nil, "10.2.0.9")
	host.join(t, "eu", eu.Kubeconfig())
	k := newKeeper()
	started(t, Config{Host: host.REST(), Tell: k.tell})

	const source = "i/kube/eu"
	k.want(t, source, "backend eu/default/shop 10.2.0.1,10.2.0.2")
	k.wantStale(t, source, "")
	k.wantNoProblem(t, source)
	k.want(t, "i/kube/host", "cluster eu")

	step(t, "an endpoint's change is told at once", func(t *testing.T) {
		var took []time.Duration
		for n := range 100 {
			addr := fmt.Sprintf("10.2.1.%d", n)
			begin := time.Now()
			eu.endpoints(t, "shop", addr)
			written := time.Since(begin)
			k.want(t, source, "backend eu/default/shop "+addr)
			took = append(took, time.Since(begin)-written/2)
		}
		slices.Sort(took)
		t.Logf("from the middle of the API server's write to the telling: median %s, p99 %s", took[50], took[98])
		if took[50] > 200*time.Millisecond {
			t.Errorf("the median is %s", took[50])
		}
	})

	step(t, "labels decide what is federated", func(t *testing.T) {
		path := "/api/v1/namespaces/default/services/"
		eu.patch(t, path+"private", `{"metadata":{"labels":{"meridian.dev/federate":"true"}}}`)
		k.want(t, source, "backend eu/default/private 10.2.0.9", "backend eu/default/shop 10.2.1.99")
		eu.patch(t, path+"private", `{"metadata":{"labels":{"meridian.dev/federate":null}}}`)
		k.want(t, source, "backend eu/default/shop 10.2.1.99")
		eu.delete(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/shop-1")
		k.want(t, source, "backend eu/default/shop") // a single event is believed, whatever it takes away
	})

	step(t, "ServiceExport comes later", func(t *testing.T) {
		eu.apply(t, ofModule(t, "sigs.k8s.io/mcs-api", "config/crd/multicluster.x-k8s.io_serviceexports.yaml")...)
		path := "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceexports"
		eu.post(t, path, "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: {name: private}}")
		eu.post(t, path, "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, metadata: {name: nothing}}")
		k.want(t, source, "backend eu/default/private 10.2.0.9", "backend eu/default/shop")
		k.wantProblem(t, source, "ServiceExport default/nothing in eu: NoService")
		eu.delete(t, path+"/private")
		eu.delete(t, path+"/nothing")
		k.want(t, source, "backend eu/default/shop")
		k.wantNoProblem(t, source)
	})

	step(t, "a node knows the zone", func(t *testing.T) {
		eu.post(t, "/api/v1/nodes", `{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/zone: eu-a}}}`)
		eu.post(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}, ports: [{name: http, port: 8080}],
endpoints: [{addresses: [10.2.0.1], nodeName: n1}, {addresses: [10.2.0.2], nodeName: n1, zone: own}, {addresses: [10.2.0.3]}]}`)
		k.want(t, source, "backend eu/default/shop 10.2.0.1@eu-a,10.2.0.2@own,10.2.0.3")
		eu.patch(t, "/api/v1/nodes/n1", `{"metadata":{"labels":{"topology.kubernetes.io/zone":"eu-b"}}}`)
		k.want(t, source, "backend eu/default/shop 10.2.0.1@eu-b,10.2.0.2@own,10.2.0.3")
	})
	const now = "backend eu/default/shop 10.2.0.1@eu-b,10.2.0.2@own,10.2.0.3"

	step(t, "a service that can no longer be read keeps what it said", func(t *testing.T) {
		eu.patch(t, "/api/v1/namespaces/default/services/shop", `{"spec":{"ports":[{"name":"http","port":80,"protocol":"UDP"}]}}`)
		k.wantProblem(t, source, "no usable TCP port")
		k.want(t, source, now)
		eu.patch(t, "/api/v1/namespaces/default/services/shop", `{"spec":{"ports":[{"name":"http","port":80,"protocol":"TCP"}]}}`)
		k.wantNoProblem(t, source)
	})

	step(t, "a service that turns outside the cluster gives its endpoints up", func(t *testing.T) {
		eu.patch(t, "/api/v1/namespaces/default/services/shop", `{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":"","clusterIPs":null}}`)
		k.wantProblem(t, source, "Service default/shop in eu: ExternalName: spec.type: ExternalName points outside")
		k.want(t, source)
		eu.patch(t, "/api/v1/namespaces/default/services/shop", `{"spec":{"type":"ClusterIP","externalName":null,"clusterIP":"None"}}`)
		k.wantNoProblem(t, source)
		k.want(t, source, now) // headless, and without a selector
	})

	step(t, "a pod of two families is one endpoint, of the first", func(t *testing.T) {
		eu.post(t, "/api/v1/namespaces/default/services", `{apiVersion: v1, kind: Service, metadata: {name: both, labels: {meridian.dev/federate: "true"}},
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4], ports: [{name: http, port: 80}]}}`)
		for family, addr := range map[string]string{"IPv4": "10.2.0.5", "IPv6": "2001:db8::5"} {
			eu.post(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", fmt.Sprintf(`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: %s,
metadata: {name: both-%s, labels: {kubernetes.io/service-name: both}}, ports: [{name: http, port: 8080}], endpoints: [{addresses: ["%s"]}]}`, family, strings.ToLower(family), addr))
		}
		k.want(t, source, "backend eu/default/both 2001:db8::5", now)
		eu.delete(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/both-ipv6")
		k.want(t, source, "backend eu/default/both 10.2.0.5", now)
		eu.delete(t, "/api/v1/namespaces/default/services/both")
		k.want(t, source, now)
	})

	step(t, "a paused API server makes stale and takes nothing away", func(t *testing.T) {
		if err := eu.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		k.wantStale(t, source, "the API server of eu does not answer since")
		t.Logf("noticed after %s", time.Since(begin))
		k.want(t, source, now)
		k.wantStale(t, "i/kube/host", "")
		if err := eu.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		k.wantStale(t, source, "")
		eu.endpoints(t, "shop", "10.2.0.7", "10.2.0.8")
		k.want(t, source, "backend eu/default/shop 10.2.0.7,10.2.0.8")
	})

	step(t, "a stopped API server comes back with what happened meanwhile", func(t *testing.T) {
		if err := eu.StopAPI(); err != nil {
			t.Fatal(err)
		}
		k.wantStale(t, source, "does not answer")
		k.want(t, source, "backend eu/default/shop 10.2.0.7,10.2.0.8")
		if err := eu.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		eu.endpoints(t, "shop", "10.2.0.10", "10.2.0.11")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.11")
		k.wantStale(t, source, "")
		t.Logf("in touch again %s after it was ready", time.Since(begin))
	})

	step(t, "a cluster that goes back in time is followed there", func(t *testing.T) {
		backup, err := eu.Backup()
		if err != nil {
			t.Fatal(err)
		}
		for n := range 30 {
			eu.endpoints(t, "shop", "10.2.0.10", "10.2.0.11", fmt.Sprintf("10.2.3.%d", n))
		}
		eu.service(t, "late", federated, "10.2.0.40")
		k.want(t, source, "backend eu/default/late 10.2.0.40", "backend eu/default/shop 10.2.0.10,10.2.0.11,10.2.3.29")
		if err := eu.Restore(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.11")
		t.Logf("followed %s after it was ready", time.Since(begin))
		eu.endpoints(t, "shop", "10.2.0.10", "10.2.0.12", "10.2.0.13")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.13")
		k.wantStale(t, source, "")
	})

	step(t, "credentials rotate and are revoked", func(t *testing.T) {
		reader(t, eu, "services", "endpointslices", "serviceexports", "nodes", "namespaces")
		host.credentials(t, "eu", tokenOf(t, eu))
		eu.endpoints(t, "shop", "10.2.0.10", "10.2.0.12", "10.2.0.14")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.14")
		k.wantNoProblem(t, source)
		eu.delete(t, "/api/v1/namespaces/default/serviceaccounts/meridian")
		k.wantStale(t, source, "does not know our credentials (401)")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.14")
		host.credentials(t, "eu", []byte("users: [{user: {exec: {command: sh}}}]"))
		k.wantProblem(t, source, "Cluster eu in host: InvalidCredentials")
		host.credentials(t, "eu", eu.Kubeconfig())
		k.wantStale(t, source, "")
		k.wantNoProblem(t, source)
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.14")
	})

	step(t, "a missing permission is named", func(t *testing.T) {
		reader(t, eu, "services", "namespaces", "nodes")
		host.credentials(t, "eu", tokenOf(t, eu))
		k.wantProblem(t, source, "does not let us list and watch endpointslices.discovery.k8s.io")
		k.wantProblem(t, source, "does not let us list and watch serviceexports.multicluster.x-k8s.io")
		k.wantStale(t, source, "does not let us watch endpointslices.discovery.k8s.io")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.14")
		reader(t, eu, "services", "endpointslices", "serviceexports", "nodes", "namespaces")
		k.wantStale(t, source, "")
		k.wantNoProblem(t, source)
	})

	step(t, "another cluster under the same name is refused", func(t *testing.T) {
		host.credentials(t, "eu", host.Kubeconfig())
		k.wantStale(t, source, "another cluster answers under this name")
		k.wantProblem(t, source, "AnotherCluster")
		k.want(t, source, "backend eu/default/shop 10.2.0.10,10.2.0.12,10.2.0.14")
		host.credentials(t, "eu", eu.Kubeconfig())
		k.wantStale(t, source, "")
		k.wantNoProblem(t, source)
	})

	step(t, "a removed Cluster takes its facts along", func(t *testing.T) {
		host.delete(t, clustersPath+"/eu")
		k.want(t, source)
		k.want(t, "i/kube/host")
	})
}

// reader gives the ServiceAccount "meridian" the right to read these, alone.
func reader(t *testing.T, s *site, resources ...string) {
	t.Helper()
	s.post(t, "/api/v1/namespaces/default/serviceaccounts", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: meridian}}")
	role := fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"meridian"},
"rules":[{"apiGroups":["*"],"resources":["%s"],"verbs":["get","list","watch"]}]}`, strings.Join(resources, `","`))
	s.post(t, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
	s.patch(t, "/apis/rbac.authorization.k8s.io/v1/clusterroles/meridian", role)
	s.post(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: meridian},
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: meridian}, subjects: [{kind: ServiceAccount, name: meridian, namespace: default}]}`)
}

func tokenOf(t *testing.T, s *site) []byte {
	t.Helper()
	request, err := s.admin.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "meridian", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := s.KubeconfigWithToken("meridian", request.Status.Token)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}
