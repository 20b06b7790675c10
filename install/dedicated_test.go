package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
)

// unpack writes what a pod sees of a Secret or ConfigMap.
func unpack[V string | []byte](t *testing.T, data map[string]V) string {
	t.Helper()
	dir := t.TempDir()
	for name, v := range data {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func secretOf(t *testing.T, r *Reach, name string) *corev1.Secret {
	t.Helper()
	s, err := r.kube.CoreV1().Secrets(Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runPod runs etcd and the API server of the StatefulSet that is installed, by the very
// arguments that it gives them, at an address.
func runPod(t *testing.T, host *Reach, programs kubebin.Programs, at string) {
	t.Helper()
	set, err := host.kube.AppsV1().StatefulSets(Namespace).Get(t.Context(), apiName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := host.kube.CoreV1().ConfigMaps(Namespace).Get(t.Context(), apiName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	identity := secretOf(t, host, SecretAPI)
	inPlaceOf := strings.NewReplacer("/etc/meridian/api-config", unpack(t, config.Data), "/etc/meridian/api", unpack(t, identity.Data),
		"/var/lib/etcd", t.TempDir(), "0.0.0.0", at, "$(POD_IP)", at)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(identity.Data["ca.crt"])
	asked := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: apiServerName(Namespace)}}}
	ready := map[string]func(context.Context) error{
		"etcd": lab.HTTPReady("http://" + at + ":2381/readyz"),
		"kube-apiserver": func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+at+":6443/readyz", http.NoBody)
			if err != nil {
				return err
			}
			resp, err := asked.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s", resp.Status)
			}
			return nil
		},
	}
	group := lab.Begin(t)
	for _, c := range set.Spec.Template.Spec.Containers {
		path := map[string]string{"etcd": programs.Etcd, "kube-apiserver": programs.APIServer}[c.Name]
		if path == "" {
			continue
		}
		if len(c.Command) != 1 || c.Command[0] != c.Name {
			t.Errorf("%s begins with %v", c.Name, c.Command)
		}
		var args []string
		for _, a := range c.Args {
			args = append(args, inPlaceOf.Replace(a))
		}
		if _, err := group.Start(lab.Command{Name: c.Name, Path: path, Args: args, Log: filepath.Join(t.TempDir(), "log"), Ready: ready[c.Name], ReadyTimeout: time.Minute, Grace: 2 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
}

// A dedicated API is installed, runs by the chart's own arguments, and is reached by the
// context that init writes.
func TestDedicatedAPI(t *testing.T) {
	const at = "10.1.77.2"
	ctx := t.Context()
	programs := lab.Kube(t)
	c, err := cluster.Start(ctx, lab.Begin(t), cluster.Config{Name: "host", Addr: netip.MustParseAddr("10.1.77.1"), Dir: t.TempDir(), Programs: programs, NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	host := reach(t, c)
	settings := Settings{Region: "europe-west1", Values: map[string]any{"api": map[string]any{"enabled": true}}}
	if _, _, err := Init(ctx, host, settings, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	if there, _ := host.crd(ctx, "meridian.dev", "Cluster"); there {
		t.Error("the cluster around the dedicated API knows Clusters")
	}
	if _, did, err := Init(ctx, host, Settings{}, false, Progress{}); err != nil || did.Created+did.Changed > 0 {
		t.Errorf("init again: %v %v", did, err)
	}
	for says, s := range map[string]Settings{
		"has a dedicated API, and everything": {Values: map[string]any{"api": map[string]any{"enabled": false}}},
	} {
		if _, _, err := Init(ctx, host, s, false, Progress{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	runPod(t, host, programs, at)

	file := filepath.Join(t.TempDir(), "config")
	if err := WriteContext(ctx, host, "", file, "http://x", Progress{}); err == nil {
		t.Error("plaintext is taken for an API server")
	}
	status := []byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"` + at + `"}]}}}`)
	if _, err := host.kube.CoreV1().Services(Namespace).Patch(ctx, apiName, "application/merge-patch+json", status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := WriteContext(ctx, host, "", file, "", Progress{}); err != nil {
			t.Fatal(err)
		}
	}
	api, err := Open(file, contextName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Furnish(ctx, api, "", map[string]any{"tlsNamespaces": []any{"*"}}, Progress{}); err != nil {
		t.Fatal(err)
	}
	if did, err := Furnish(ctx, api, "", map[string]any{"tlsNamespaces": []any{"*"}}, Progress{}); err != nil || did.Created+did.Changed > 0 {
		t.Errorf("furnished again: %v %v", did, err)
	}

	t.Run("the Zone that init is told goes into it", func(t *testing.T) {
		zone, err := NewZone("shop.example.com", []string{"ns1.shop.example.com=192.0.2.53"})
		if err != nil {
			t.Fatal(err)
		}
		parts, _, err := Init(ctx, host, Settings{Zone: zone}, true, Progress{})
		if err != nil || len(parts) != 2 || len(parts[1].Objects) != 1 || parts[1].Objects[0].GetKind() != "Zone" {
			t.Errorf("%v %v", parts, err)
		}
		if _, did, err := Init(ctx, host, Settings{Zone: zone}, false, Progress{}); err != nil || did.Created+did.Changed > 0 {
			t.Errorf("init: %v %v", did, err)
		}
		for range 2 {
			if err := WriteZone(ctx, host, "", "", zone, Progress{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := api.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("zones")).Get(ctx, "shop.example.com", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		if there, _ := host.crd(ctx, "meridian.dev", "Zone"); there {
			t.Error("the cluster around the dedicated API knows Zones")
		}
	})
	t.Run("people reach it by kubectl", func(t *testing.T) {
		kubectl := func(args ...string) string {
			out, err := exec.CommandContext(ctx, programs.Kubectl, append([]string{"--kubeconfig", file, "--context", "meridian", "--cache-dir", t.TempDir()}, args...)...).CombinedOutput()
			if err != nil {
				t.Errorf("kubectl %v: %v\n%s", args, err, out)
			}
			return string(out)
		}
		if out := kubectl("get", "clusters,ns"); !strings.Contains(out, Namespace) {
			t.Error(out)
		}
		kubectl("create", "deployment", "web", "--image=whereami:1", "--replicas=3")
		kubectl("create", "quota", "small", "--hard=configmaps=0")
	})
	t.Run("strangers may ask for its health alone", func(t *testing.T) {
		anybody, err := NewReach("anybody", rest.AnonymousClientConfig(api.Config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := anybody.kube.Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
			t.Errorf("got %v", err)
		}
		if out, err := anybody.kube.Discovery().RESTClient().Get().AbsPath("/livez").Do(ctx).Raw(); err != nil || string(out) != "ok" {
			t.Errorf("%s %v", out, err)
		}
	})
	t.Run("the daemons may do what they need", func(t *testing.T) {
		dir := unpack(t, secretOf(t, host, SecretAPIClient).Data)
		cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, kubeconfigKey))
		if err != nil || cfg.Host != "https://"+apiServerName(Namespace)+":6443" {
			t.Fatal(cfg, err)
		}
		cfg.Host, cfg.TLSClientConfig.ServerName = "https://"+at+":6443", apiServerName(Namespace)
		daemon, err := NewReach("daemon", cfg)
		if err != nil {
			t.Fatal(err)
		}
		lacking, err := daemon.lacks(ctx, []right{
			{verb: "create", group: "meridian.dev", resource: "federatedobjects", namespace: "default"}, {verb: "patch", group: "apps", resource: "deployments", subresource: "status"},
			{verb: "update", resource: "namespaces", subresource: "finalize"}, {verb: "watch", resource: "secrets"}, {verb: "update", group: "coordination.k8s.io", resource: "leases", namespace: Namespace},
		})
		if err != nil || len(lacking) > 0 {
			t.Errorf("%v %v", lacking, err)
		}
		if lacking, err = daemon.lacks(ctx, []right{{verb: "create", group: rbacGroup, resource: "clusterroles"}, {verb: "escalate", group: rbacGroup, resource: "clusterroles"}, {verb: "impersonate", resource: "users"}}); err != nil || len(lacking) != 3 {
			t.Errorf("%v %v", lacking, err)
		}
	})
	t.Run("check", func(t *testing.T) {
		outside, err := Check(ctx, host, Checking{})
		if err != nil {
			t.Fatal(err)
		}
		inside, err := Check(ctx, api, Checking{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range inside.Findings {
			if f.Severity == Fault {
				t.Errorf("inside: %+v", f)
			}
		}
		text, _ := json.Marshal(outside.Findings)
		for _, want := range []string{"Secret meridian-system/meridian-api-ca", "Dedicated API", "StatefulSet meridian-system/meridian-api"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("nothing of %q in %s", want, text)
			}
		}
		if strings.Contains(string(text), "CustomResourceDefinition") {
			t.Errorf("CRDs are missed outside: %s", text)
		}
	})
	t.Run("its certificates are renewed by the CronJob's account", func(t *testing.T) {
		cron := byAccount(t, host, "meridian-renew")
		now := time.Now()
		if done, err := Renew(ctx, cron, "", now, Progress{}); err != nil || len(done.Renewals) > 0 {
			t.Errorf("renewed at once: %v %v", done, err)
		}
		before := map[string]*corev1.Secret{}
		for _, n := range apiSecretNames() {
			before[n] = secretOf(t, host, n)
		}
		late := now.Add(apiLife * 3 / 4)
		due, err := Due(ctx, cron, "", late)
		if err != nil {
			t.Fatal(err)
		}
		done, err := Renew(ctx, cron, "", late, Progress{})
		if err != nil || len(done.Renewals) != len(due.Renewals) {
			t.Fatalf("%v, due were %v: %v", done, due, err)
		}
		var said []string
		for _, r := range done.Renewals {
			said = append(said, r.String())
		}
		for _, want := range []string{"meridian-api: tls.crt of kube-apiserver had less than a third", "meridian-api-admin: tls.crt of admin had", "meridian-api-client: tls.crt of system:serviceaccount:meridian-system:meridiand had"} {
			if !strings.Contains(strings.Join(said, "\n"), want) {
				t.Errorf("no %q in %v", want, said)
			}
		}
		for _, n := range apiSecretNames() {
			after := secretOf(t, host, n)
			same := string(after.Data["tls.crt"]) == string(before[n].Data["tls.crt"])
			if same != (n == SecretAPIAuthority) || string(after.Data["ca.crt"]) != string(before[n].Data["ca.crt"]) || string(after.Data[tokensKey]) != string(before[n].Data[tokensKey]) || string(after.Data[kubeconfigKey]) != string(before[n].Data[kubeconfigKey]) {
				t.Errorf("%s is not what is expected; the same certificate: %v", n, same)
			}
		}
	})
	t.Run("init and uninstall know it", func(t *testing.T) {
		if _, _, err := Init(ctx, api, Settings{Region: "europe-west1"}, false, Progress{}); err == nil || !strings.Contains(err.Error(), "in which nothing runs") {
			t.Errorf("got %v", err)
		}
		if _, err := Uninstall(ctx, host, Removing{}, true, Progress{}); err == nil || !strings.Contains(err.Error(), "--host-context meridian") {
			t.Errorf("got %v", err)
		}
		parts, err := Uninstall(ctx, host, Removing{Force: true}, true, Progress{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range parts[0].Objects {
			names = append(names, name(o))
		}
		for _, want := range []string{"StatefulSet meridian-system/meridian-api", "Secret meridian-system/meridian-api-ca", "Service meridian-system/meridian-api", "NetworkPolicy meridian-system/meridian-api"} {
			if !strings.Contains(strings.Join(names, "\n"), want) {
				t.Errorf("%s stays; %v go", want, names)
			}
		}
	})
	t.Run("another's context is left as it is", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "config")
		const text = "apiVersion: v1\nkind: Config\nclusters: [{name: meridian, cluster: {server: 'https://192.0.2.1'}}]\ncontexts: []\nusers: []\n"
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WriteContext(ctx, host, "", other, "", Progress{}); err == nil || !strings.Contains(err.Error(), "--no-context") {
			t.Errorf("got %v", err)
		}
		if after, err := os.ReadFile(other); err != nil || string(after) != text {
			t.Errorf("%s %v", after, err)
		}
	})
}

// Certificates of a dedicated API are kept while they last.
func TestAPIIdentities(t *testing.T) {
	now := time.Now()
	made := func(found map[string]*corev1.Secret, now time.Time) (map[string]*corev1.Secret, error) {
		i := &identities{namespace: Namespace, now: now, found: found}
		list, err := i.apiSecrets()
		out := map[string]*corev1.Secret{}
		for _, o := range list {
			raw, _ := o.MarshalJSON()
			s := &corev1.Secret{}
			if err := json.Unmarshal(raw, s); err != nil {
				t.Fatal(err)
			}
			out[s.Name] = s
		}
		return out, err
	}
	first, err := made(nil, now)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b map[string]*corev1.Secret, secret, key string) bool {
		return string(a[secret].Data[key]) == string(b[secret].Data[key])
	}
	again, err := made(first, now.Add(365*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	late, err := made(first, now.Add(apiLife*3/4))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range apiSecretNames() {
		for key := range first[secret].Data {
			if !same(first, again, secret, key) {
				t.Errorf("%s of %s was made anew", key, secret)
			}
			renewed := (key == "tls.crt" || key == "tls.key")
			if same(first, late, secret, key) == renewed {
				t.Errorf("%s of %s near its end: made anew is %v", key, secret, !renewed)
			}
		}
	}
	delete(first, SecretAPIAuthority)
	if _, err := made(first, now); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a lost authority: %v", err)
	}
}
