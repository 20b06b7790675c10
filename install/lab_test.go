package install

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.1.0.0/16")) }

// started starts a real control plane that ends with the test.
func started(t *testing.T, name, addr string) *cluster.Cluster {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: name, Addr: netip.MustParseAddr(addr), Dir: t.TempDir(), Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reach(t *testing.T, c *cluster.Cluster) *Reach {
	t.Helper()
	r, err := NewReach(c.Name(), c.REST())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// as reaches an API server with a kubeconfig.
func as(t *testing.T, kubeconfig []byte) *Reach {
	t.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReach("as", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// registered adds nodes as a kubelet and a controller would: with labels, ranges and addresses.
func registered(t *testing.T, kube kubernetes.Interface, nodes ...corev1.Node) {
	t.Helper()
	for i := range nodes {
		if _, err := kube.CoreV1().Nodes().Create(t.Context(), &nodes[i], metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		status, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": nodes[i].Status.Addresses}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kube.CoreV1().Nodes().Patch(t.Context(), nodes[i].Name, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
}

func node(name, zone, pods, address string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if zone != "" {
		n.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	}
	if pods != "" {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = pods, []string{pods}
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	return n
}

// TestStory walks an installation from its beginning to its end, on two real API servers.
func TestStory(t *testing.T) {
	hostCluster, memberCluster := started(t, "host", "10.1.0.1"), started(t, "member", "10.1.0.2")
	host, member := reach(t, hostCluster), reach(t, memberCluster)
	settings := Settings{Region: "europe-west1", Network: "eu-1", Values: map[string]any{
		"meridiand": map[string]any{"persistence": map[string]any{"enabled": false}},
	}}
	ctx := t.Context()

	joining := Joining{Membership: Membership{Name: "us-1"}}
	t.Run("nobody joins what is no host", func(t *testing.T) {
		_, err := Join(ctx, member, host, joining, false, Progress{})
		if err == nil || !strings.Contains(err.Error(), "run \"meridian init --context host\" first") || !strings.Contains(err.Error(), "name the region with --region") {
			t.Errorf("got %v", err)
		}
	})

	t.Run("init", func(t *testing.T) {
		begin := time.Now()
		var said bytes.Buffer
		parts, first, err := Init(ctx, host, settings, false, Progress{W: &said})
		if err != nil || first.Created != len(parts[0].Objects) {
			t.Fatalf("%v, %v\n%s", err, first, &said)
		}
		t.Logf("%d objects in %s", first.Created, time.Since(begin).Round(time.Millisecond))
	})
	t.Run("init again writes nothing", func(t *testing.T) {
		for _, again := range []Settings{settings, {}} {
			var said bytes.Buffer
			if _, second, err := Init(ctx, host, again, false, Progress{W: &said}); err != nil || second.Created+second.Changed > 0 {
				t.Errorf("%+v: %v %v\n%s", again, err, second, &said)
			}
		}
	})

	t.Run("the API server takes what it should", func(t *testing.T) { accepts(t, host) })

	registered(t, member.kube,
		node("a", "us-east1-b", "10.244.0.0/24", "10.1.7.1"), node("b", "us-east1-c", "10.244.3.0/24", "10.1.7.2"))
	var dry bytes.Buffer
	t.Run("a dry run writes nothing and says everything", func(t *testing.T) {
		parts, err := Join(ctx, member, host, joining, true, Progress{})
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteYAML(&dry, parts); err != nil {
			t.Fatal(err)
		}
		if _, err := member.kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace is there: %v", err)
		}
	})
	t.Run("join", func(t *testing.T) {
		var said bytes.Buffer
		parts, err := Join(ctx, member, host, joining, false, Progress{W: &said})
		if err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		t.Logf("%s", &said)
		var applied bytes.Buffer
		if err := WriteYAML(&applied, parts); err != nil {
			t.Fatal(err)
		}
		if got, want := withoutKubeconfig(applied.String()), withoutKubeconfig(dry.String()); got != want {
			t.Errorf("the dry run said\n%s\nbut applied was\n%s", want, got)
		}
		c := parts[1].Objects[3]
		spec := c.Object["spec"].(map[string]any)
		if spec["region"] != "us-east1" || len(spec["endpointNetworks"].([]any)) != 2 {
			t.Errorf("%v", spec)
		}
	})
	t.Run("join again writes nothing", func(t *testing.T) {
		var said bytes.Buffer
		if _, err := Join(ctx, member, host, joining, false, Progress{W: &said}); err != nil || strings.Contains(said.String(), "changed\n") || strings.Contains(said.String(), "created\n") {
			t.Errorf("%v\n%s", err, &said)
		}
	})
	t.Run("join again keeps what was said before", func(t *testing.T) {
		said := joining
		said.Gateways = []v1alpha1.Gateway{{Address: "192.0.2.9"}}
		said.Endpoints = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/14")}
		said.Network = "shared"
		said.Server = "https://10.1.9.7:6443"
		for _, j := range []Joining{said, joining} {
			if _, err := Join(ctx, member, host, j, false, Progress{}); err != nil {
				t.Fatal(err)
			}
			o := j.object()
			client, err := host.resource(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := client.Get(ctx, "us-1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			found, err := host.existing(ctx, Namespace, secretName("us-1"))
			if err != nil {
				t.Fatal(err)
			}
			if cfg, err := bearer(found[secretName("us-1")].Data[kubeconfigKey]); err != nil || cfg.Host != said.Server {
				t.Errorf("the host reaches it at %v (%v)", cfg, err)
			}
			spec := got.Object["spec"].(map[string]any)
			gateways, _ := spec["gateways"].([]any)
			networks, _ := spec["endpointNetworks"].([]any)
			if len(gateways) != 1 || len(networks) != 1 || networks[0] != "10.244.0.0/14" || spec["network"] != "shared" {
				t.Errorf("%v", spec)
			}
		}
	})
	// Back to what the host can reach from here.
	joining.Server = member.Config.Host
	if _, err := Join(ctx, member, host, joining, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	t.Run("another cluster is not taken for the member", func(t *testing.T) {
		_, err := Join(ctx, host, host, joining, false, Progress{})
		if err == nil || !strings.Contains(err.Error(), "is another cluster") {
			t.Errorf("joined: %v", err)
		}
		if err := Unjoin(ctx, host, host, Leaving{Name: "us-1"}, Progress{}); err == nil || !strings.Contains(err.Error(), "is another cluster") {
			t.Errorf("let go: %v", err)
		}
	})
	t.Run("one cluster is no two members", func(t *testing.T) {
		other := Joining{Membership: Membership{Name: "us-2"}}
		want := "context member leads to the cluster that is the member us-1 already"
		if _, err := Join(ctx, member, host, other, false, Progress{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("joined twice: %v", err)
		}
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-2"}, Progress{}); err == nil || !strings.Contains(err.Error(), "leads to the member us-1, not to us-2") {
			t.Errorf("let go by another name: %v", err)
		}
		elsewhere := Joining{Membership: Membership{Name: "eu-1", Region: "europe-west1"}}
		if _, err := Join(ctx, host, host, elsewhere, true, Progress{}); err != nil {
			t.Errorf("the host itself: %v", err)
		}
		secrets := host.kube.CoreV1().Secrets(Namespace)
		s, err := secrets.Get(ctx, secretName("us-1"), metav1.GetOptions{})
		if err != nil || s.Annotations[annotationUID] == "" {
			t.Fatalf("%v %v", err, s.Annotations)
		}
		uid := s.Annotations[annotationUID]
		// As an older version left it: the member says itself who it is.
		delete(s.Annotations, annotationUID)
		if s, err = secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := Join(ctx, member, host, other, false, Progress{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("joined twice: %v", err)
		}
		// By another address and another authority it is the same cluster still.
		s.Annotations = map[string]string{annotationUID: uid}
		good := s.Data[kubeconfigKey]
		if s.Data[kubeconfigKey], err = writeKubeconfig("us-1", "https://10.1.9.9:6443", []byte("another"), "a.b.c"); err != nil {
			t.Fatal(err)
		}
		if s, err = secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := member.same(ctx, host, Namespace, "us-1"); err != nil {
			t.Error(err)
		}
		s.Data[kubeconfigKey] = good
		if _, err = secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("stored credentials run and read nothing here", func(t *testing.T) {
		cfg, err := bearer([]byte("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" +
			"clusters: [{name: a, cluster: {server: 'https://10.1.9.9', certificate-authority: /etc/passwd, proxy-url: 'http://10.1.9.8'}}]\n" +
			"users: [{name: a, user: {tokenFile: /etc/passwd, exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false, interactiveMode: Never}}}]\n"))
		if err != nil || cfg.ExecProvider != nil || cfg.BearerToken != "" || cfg.BearerTokenFile != "" || cfg.CAFile != "" || cfg.Proxy != nil {
			t.Errorf("%v %+v", err, cfg)
		}
	})
	t.Run("credentials see what they must and nothing else", func(t *testing.T) {
		found, err := host.existing(ctx, Namespace, secretName("us-1"))
		if err != nil {
			t.Fatal(err)
		}
		bearer := as(t, found[secretName("us-1")].Data[kubeconfigKey])
		if _, err := bearer.kube.CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("services: %v", err)
		}
		if _, err := bearer.kube.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("slices: %v", err)
		}
		if _, err := bearer.issueToken(ctx, Namespace, time.Hour); err != nil {
			t.Errorf("its own token: %v", err)
		}
		if _, err := bearer.kube.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("secrets: %v", err)
		}
		if _, err := bearer.kube.CoreV1().ConfigMaps(Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("writing: %v", err)
		}
		var lists []string
		for _, p := range []right{
			{verb: "create", resource: "serviceaccounts", subresource: "token", namespace: "kube-system"},
			{verb: "create", resource: "pods", namespace: Namespace}, {verb: "get", resource: "pods", subresource: "log", namespace: "default"},
			{verb: "list", resource: "configmaps"}, {verb: "list", resource: "pods"}, {verb: "delete", resource: "services", namespace: "default"},
			{verb: "impersonate", resource: "users"}, {verb: "get", resource: "nodes", subresource: "proxy"},
		} {
			lists = append(lists, p.String())
			lacking, err := bearer.lacks(ctx, []right{p})
			if err != nil || len(lacking) != 1 {
				t.Errorf("it may %s (%v)", p, err)
			}
		}
		if len(lists) != 8 {
			t.Error(lists)
		}
	})
	t.Run("the daemons see the credentials of members and not the authority", func(t *testing.T) {
		secrets := byAccount(t, host, daemonAccount).kube.CoreV1().Secrets(Namespace)
		s, err := secrets.Get(ctx, secretName("us-1"), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			t.Errorf("renewing: %v", err)
		}
		just := metav1.ListOptions{FieldSelector: "metadata.name=" + secretName("us-1")}
		if _, err := secrets.List(ctx, just); err != nil {
			t.Errorf("listing just it: %v", err)
		}
		if w, err := secrets.Watch(ctx, just); err != nil {
			t.Errorf("watching just it: %v", err)
		} else {
			w.Stop()
		}
		for _, n := range []string{SecretAuthority, SecretOperator} {
			if _, err := secrets.Get(ctx, n, metav1.GetOptions{}); !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v", n, err)
			}
		}
		if _, err := secrets.List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("all Secrets: %v", err)
		}
	})
	t.Run("check", func(t *testing.T) { checks(t, host) })

	t.Run("unjoin needs to reach the member", func(t *testing.T) {
		if err := Unjoin(ctx, nil, host, Leaving{Name: "us-1"}, Progress{}); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unjoin leaves nothing behind", func(t *testing.T) {
		var said bytes.Buffer
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-1", Grace: 1500 * time.Millisecond}, Progress{W: &said}); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		if !strings.Contains(said.String(), "drains for 1.5s") {
			t.Errorf("%s", &said)
		}
		empty(t, host, member)
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-1", Grace: time.Minute}, Progress{}); err != nil {
			t.Errorf("again: %v", err)
		}
	})
	t.Run("a dead member is let go by force", func(t *testing.T) {
		if _, err := Join(ctx, member, host, joining, false, Progress{}); err != nil {
			t.Fatal(err)
		}
		if err := memberCluster.StopAPI(); err != nil {
			t.Fatal(err)
		}
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-1"}, Progress{}); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
			t.Errorf("got %v", err)
		}
		var said bytes.Buffer
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-1", Force: true}, Progress{W: &said}); err != nil || !strings.Contains(said.String(), "left as it is") {
			t.Errorf("%v\n%s", err, &said)
		}
		if err := memberCluster.StartAPI(ctx); err != nil {
			t.Fatal(err)
		}
		if err := Unjoin(ctx, member, host, Leaving{Name: "us-1"}, Progress{}); err != nil {
			t.Error(err)
		}
		empty(t, host, member)
	})
}

// empty checks that nothing of a member is left in either cluster.
func empty(t *testing.T, host, member *Reach) {
	t.Helper()
	ctx := t.Context()
	if list, err := host.dynamic.Resource(clustersResource).List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("Clusters: %v %v", list, err)
	}
	if list, err := host.kube.CoreV1().Secrets(Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelMember}); err != nil || len(list.Items) > 0 {
		t.Errorf("Secrets: %v %v", list, err)
	}
	if list, err := host.kube.RbacV1().Roles(Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelMember}); err != nil || len(list.Items) > 0 {
		t.Errorf("Roles: %v %v", list, err)
	}
	if list, err := host.kube.RbacV1().RoleBindings(Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelMember}); err != nil || len(list.Items) > 0 {
		t.Errorf("RoleBindings: %v %v", list, err)
	}
	mine := metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager}
	if list, err := member.kube.RbacV1().ClusterRoles().List(ctx, mine); err != nil || len(list.Items) > 0 {
		t.Errorf("ClusterRoles: %v %v", list, err)
	}
	if list, err := member.kube.RbacV1().ClusterRoleBindings().List(ctx, mine); err != nil || len(list.Items) > 0 {
		t.Errorf("ClusterRoleBindings: %v %v", list, err)
	}
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := member.kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		t.Errorf("the namespace stays: %v", err)
	}
}

// withoutKubeconfig takes out the one line that a dry run cannot know.
func withoutKubeconfig(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "  kubeconfig: ") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// checks finds what is planted, and nothing else.
func checks(t *testing.T, host *Reach) {
	ctx := t.Context()
	report := func(c Checking) *Report {
		t.Helper()
		r, err := Check(ctx, host, c)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	says := func(r *Report, s Severity, about, message string) {
		t.Helper()
		for _, f := range r.Findings {
			if f.Severity == s && strings.Contains(f.About, about) && strings.Contains(f.Message, message) {
				if s != Fine && f.Remedy == "" {
					t.Errorf("%s: no remedy for %s", f.About, f.Message)
				}
				return
			}
		}
		t.Errorf("no %s about %q with %q in %+v", s, about, message, r.Findings)
	}
	now := report(Checking{})
	says(now, Fine, "clusters.meridian.dev", "of this version")
	says(now, Fault, "StatefulSet", "0 of 2 pods are ready")
	says(now, Note, "Cluster us-1", "no daemon has looked at it yet")
	says(now, Note, "meridian-gateway", "no address yet")
	says(now, Fine, "Credentials of us-1", "good for")
	says(now, Fine, SecretControl, "good for 8")

	later := report(Checking{Now: time.Now().Add(75 * 24 * time.Hour)})
	says(later, Note, SecretControl, "meridiand-0.crt expires in 14 days")
	for _, f := range later.Findings {
		if strings.Contains(f.About, SecretControl) && !strings.Contains(f.Remedy, "meridian certs renew --context host") {
			t.Errorf("the remedy is %q", f.Remedy)
		}
	}
	says(later, Fault, "Credentials of us-1", "expired")
	says(later, Fault, "Service "+Namespace+"/meridian-gateway", "no load balancer")
	says(later, Fault, "Cluster us-1", "no daemon has looked at it")
	says(report(Checking{Now: time.Now().Add(100 * 24 * time.Hour)}), Fault, SecretGateway, "expired")
	for _, f := range append(now.Findings, later.Findings...) {
		if strings.Contains(f.Remedy, "kubectl") && !strings.Contains(f.Remedy, "--context host") || strings.Contains(f.Remedy, "meridian join") && !strings.Contains(f.Remedy, "--host-context host") {
			t.Errorf("the remedy of %s leads to whatever context is current: %s", f.About, f.Remedy)
		}
	}
	few, err := Check(ctx, nobody(t, host), Checking{})
	if err != nil || few.Faults() < 5 {
		t.Fatalf("%v %+v", err, few)
	}
	says(few, Fault, "Your rights", "the certificates were not looked at")
	says(report(Checking{Namespace: "elsewhere"}), Fault, "Namespace elsewhere", "nothing is installed")

	crd, err := host.dynamic.Resource(crds).Get(ctx, "zones.meridian.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patched := []byte(`[{"op":"replace","path":"/spec/versions/0/additionalPrinterColumns/0/name","value":"Elsewhere"}]`)
	if _, err := host.dynamic.Resource(crds).Patch(ctx, crd.GetName(), "application/json-patch+json", patched, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := host.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretGateway, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := host.kube.CoreV1().Secrets(Namespace).Delete(ctx, secretName("us-1"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := host.dynamic.Resource(clustersResource).Get(ctx, "us-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.Object["status"] = map[string]any{"health": "Stale", "services": int64(0), "readyEndpoints": int64(0), "totalEndpoints": int64(0), "lastSeen": "2026-01-01T00:00:00Z", "conditions": []any{map[string]any{
		"type": "Accepted", "status": "False", "reason": "BadCredentials", "message": "the token is nobody's", "lastTransitionTime": "2026-01-01T00:00:00Z",
	}}}
	if _, err := host.dynamic.Resource(clustersResource).UpdateStatus(ctx, c, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	broken := report(Checking{})
	for _, f := range broken.Findings {
		if f.Severity == Fault && (strings.Contains(f.About, SecretGateway) || strings.Contains(f.About, "zones.")) && !strings.HasPrefix(f.Remedy, "meridian init --context host") {
			t.Errorf("%s: the remedy is %q", f.About, f.Remedy)
		}
	}
	says(broken, Fault, "zones.meridian.dev", "another version")
	says(broken, Fault, SecretGateway, "not there")
	says(broken, Fault, "Credentials of us-1", "not there")
	says(broken, Fault, "Cluster us-1", "has not answered since 2026-01-01")
	says(broken, Fault, "Cluster us-1", "Accepted is False (BadCredentials): the token is nobody's")
}
