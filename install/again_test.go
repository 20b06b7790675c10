package install

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// bareServer starts an API server without controllers that ends with the test.
func bareServer(t *testing.T, name, addr string) *Reach {
	t.Helper()
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: name, Addr: netip.MustParseAddr(addr), Dir: t.TempDir(), Programs: lab.Kube(t), NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	return reach(t, c)
}

// args are those of the daemons that run.
func args(t *testing.T, r *Reach) string {
	t.Helper()
	set, err := r.kube.AppsV1().StatefulSets(Namespace).Get(t.Context(), daemonAccount, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(set.Spec.Template.Spec.Containers[0].Args, "\n")
}

func said(t *testing.T, r *Reach) map[string]any {
	t.Helper()
	rec, err := r.record(t.Context(), Namespace)
	if err != nil || rec == nil {
		t.Fatalf("%v %v", rec, err)
	}
	return rec.values
}

// TestInitAgain: an installation stays what it was told to be, whatever is told anew.
func TestInitAgain(t *testing.T) {
	eu, us := bareServer(t, "eu", "10.1.0.11"), bareServer(t, "us", "10.1.0.12")
	ctx := t.Context()
	inited := func(r *Reach, s Settings) Outcome {
		t.Helper()
		var said bytes.Buffer
		_, did, err := Init(ctx, r, s, false, Progress{W: &said})
		if err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		return did
	}
	refused := func(r *Reach, s Settings, want string) {
		t.Helper()
		if _, _, err := Init(ctx, r, s, false, Progress{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", s, err, want)
		}
	}
	values := func(text string) map[string]any {
		t.Helper()
		var v map[string]any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}

	if _, err := eu.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	inited(eu, Settings{Region: "europe-west1", Network: "eu-1", TrustDomain: "mesh.example.com", Replicas: 3, CertificateLifetime: 30 * 24 * time.Hour,
		Values: values("meridiand: {peers: [192.0.2.60:17443], extraArgs: [--nsid=eu]}\ngateway: {autoscaling: {maxReplicas: 20}}\nnetworkPolicy: {enabled: true}\ntlsNamespaces: [shop]")})
	authority, err := eu.Authority(ctx, Namespace)
	if err != nil {
		t.Fatal(err)
	}
	inited(us, Settings{Region: "us-east1", Authority: authority, Values: values("meridiand: {kube: false, peers: [192.0.2.61:17443]}")})

	t.Run("without words nothing changes", func(t *testing.T) {
		for _, r := range []*Reach{eu, us} {
			before := args(t, r)
			if did := inited(r, Settings{}); did.Created+did.Changed > 0 {
				t.Errorf("%s: %s\nbefore:\n%s\nafter:\n%s", r.Name, did, before, args(t, r))
			}
		}
		if strings.Contains(args(t, us), "--kube") || said(t, us)["trustDomain"] != "mesh.example.com" {
			t.Errorf("%s\n%v", args(t, us), said(t, us))
		}
	})
	t.Run("a dry run says the same", func(t *testing.T) {
		parts, _, err := Init(ctx, eu, Settings{}, true, Progress{})
		if err != nil {
			t.Fatal(err)
		}
		if did, err := eu.Apply(ctx, parts[0].Objects, Progress{}); err != nil || did.Created+did.Changed > 0 {
			t.Errorf("%v %v", did, err)
		}
	})
	t.Run("what is said anew changes, and nothing else", func(t *testing.T) {
		inited(eu, Settings{Values: values("gateway: {autoscaling: {minReplicas: 4}}\nnetwork: ''")})
		scaler, err := eu.kube.AutoscalingV2().HorizontalPodAutoscalers(Namespace).Get(ctx, "meridian-gateway", metav1.GetOptions{})
		if err != nil || scaler.Spec.MaxReplicas != 20 || *scaler.Spec.MinReplicas != 4 {
			t.Errorf("%v %+v", err, scaler.Spec)
		}
		if a := args(t, eu); !strings.Contains(a, "--peer=192.0.2.60:17443") || !strings.Contains(a, "--nsid=eu") || !strings.Contains(a, "meridiand-2.") {
			t.Errorf("%s", a)
		}
		if v := said(t, eu); v["network"] != "" {
			t.Errorf("the network is %v", v["network"])
		}
	})
	t.Run("certificates live as long as was said", func(t *testing.T) {
		if err := eu.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretGateway, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		inited(eu, Settings{})
		found, err := eu.existing(ctx, Namespace, SecretGateway)
		if err != nil {
			t.Fatal(err)
		}
		c, err := leaf(found[SecretGateway].Data["tls.crt"])
		if err != nil || time.Until(c.NotAfter) > 31*24*time.Hour {
			t.Errorf("%v: until %s", err, c.NotAfter)
		}
	})
	t.Run("what is not asked for any more goes", func(t *testing.T) {
		var said bytes.Buffer
		_, _, err := Init(ctx, eu, Settings{Values: values("networkPolicy: {enabled: false}\ntlsNamespaces: []")}, true, Progress{W: &said})
		if err != nil || !strings.Contains(said.String(), "NetworkPolicy meridian-system/meridiand would be deleted") {
			t.Errorf("%v\n%s", err, &said)
		}
		inited(eu, Settings{Values: values("networkPolicy: {enabled: false}\ntlsNamespaces: []")})
		list, err := eu.kube.NetworkingV1().NetworkPolicies(Namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) > 0 {
			t.Errorf("%v %v", err, list.Items)
		}
		if roles, err := eu.kube.RbacV1().Roles("shop").List(ctx, metav1.ListOptions{}); err != nil || len(roles.Items) > 0 {
			t.Errorf("%v %v", err, roles.Items)
		}
	})
	t.Run("values are forgotten when that is asked for", func(t *testing.T) {
		inited(eu, Settings{ResetValues: true})
		if a := args(t, eu); !strings.Contains(a, "--peer=192.0.2.60:17443") || strings.Contains(a, "--nsid=eu") || !strings.Contains(a, "meridiand-2.") {
			t.Errorf("%s", a)
		}
		inited(us, Settings{ResetValues: true})
		if a := args(t, us); strings.Contains(a, "--kube") {
			t.Errorf("%s", a)
		}
	})
	t.Run("who it is stays", func(t *testing.T) {
		refused(eu, Settings{Region: "us-east1"}, "stands in region europe-west1 and cannot move to us-east1")
		refused(eu, Settings{TrustDomain: "other.example.com"}, "is of the trust domain mesh.example.com and cannot certify for other.example.com")
		other, err := Offline(Settings{Region: "asia-east1"})
		if err != nil {
			t.Fatal(err)
		}
		var stranger Settings
		for _, o := range other[0].Objects {
			if o.GetName() == SecretAuthority {
				var s struct{ Data map[string][]byte }
				if b, err := yaml.Marshal(o.Object); err != nil || yaml.Unmarshal(b, &s) != nil {
					t.Fatal(err)
				}
				stranger.Authority.Certificate, stranger.Authority.Key = s.Data["ca.crt"], s.Data[authorityKey]
			}
		}
		refused(us, stranger, "is another than the one to share")
	})
	t.Run("a lost authority is no reason for a new one", func(t *testing.T) {
		secrets := us.kube.CoreV1().Secrets(Namespace)
		if err := secrets.Delete(ctx, SecretAuthority, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(us, Settings{}, "is not there, and certificates of an authority are in force; put it back")
		inited(us, Settings{Authority: authority})
	})
	t.Run("a record that cannot be read is no empty one", func(t *testing.T) {
		secrets := us.kube.CoreV1().Secrets(Namespace)
		s, err := secrets.Get(ctx, SecretRecord, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"{", "network: a", "region: 7"} {
			s.Data[recordValues] = []byte(bad)
			if s, err = secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			refused(us, Settings{}, "cannot be read; mend it, or delete it")
		}
		if err := secrets.Delete(ctx, SecretRecord, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("an older version wrote nothing down", func(t *testing.T) {
		refused(us, Settings{}, "region us-east1, 2 daemons, peers 192.0.2.61:17443, under another installation's authority can be read from what runs, but not what --set and --values said")
		before := args(t, us)
		inited(us, Settings{ResetValues: true})
		if args(t, us) != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, args(t, us))
		}
		inited(us, Settings{Network: "us-1"})
		if err := us.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretRecord, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(us, Settings{}, "network us-1")
		inited(us, Settings{Values: values("meridiand: {extraArgs: [--nsid=us]}")})
		if v := said(t, us); v["network"] != "us-1" {
			t.Errorf("%v", v)
		}
	})
	t.Run("what helm installed is helm's", func(t *testing.T) {
		if err := us.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretRecord, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := us.kube.AppsV1().StatefulSets(Namespace).Patch(ctx, daemonAccount, types.MergePatchType, []byte(`{"metadata":{"labels":{"app.kubernetes.io/managed-by":"Helm"}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(us, Settings{ResetValues: true}, "helm -n meridian-system get values meridian")
	})
}

// The values that a record holds are such as the chart takes.
func TestRecordIsForHelm(t *testing.T) {
	parts, err := Offline(Settings{Region: "europe-west1", Values: everything()})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range parts[0].Objects {
		if o.GetName() != SecretRecord {
			continue
		}
		var s struct{ Data map[string][]byte }
		if b, err := yaml.Marshal(o.Object); err != nil || yaml.Unmarshal(b, &s) != nil {
			t.Fatal(err)
		}
		rec, err := readRecord(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := Render(Namespace, rec.values)
		if err != nil {
			t.Fatal(err)
		}
		of := func(list []*unstructured.Unstructured) (out []*unstructured.Unstructured) {
			for _, o := range list {
				if o.GetKind() == "StatefulSet" || o.GetKind() == "Deployment" {
					out = append(out, o)
				}
			}
			return out
		}
		var a, b bytes.Buffer
		if err := WriteYAML(&a, []Part{{Objects: of(objects)}}); err != nil {
			t.Fatal(err)
		}
		if err := WriteYAML(&b, []Part{{Objects: of(parts[0].Objects)}}); err != nil {
			t.Fatal(err)
		}
		if a.String() != b.String() || a.Len() == 0 {
			t.Errorf("the record makes\n%s\nand init made\n%s", &a, &b)
		}
		return
	}
	t.Error("there is no record")
}

// stopping is a person who stops a command once it has said something.
type stopping struct {
	said bytes.Buffer
	at   string
	stop context.CancelFunc
}

func (s *stopping) Write(b []byte) (int, error) {
	if strings.Contains(string(b), s.at) {
		s.stop()
	}
	return s.said.Write(b)
}

// An init that was interrupted, wherever, goes on without being told anything again.
func TestInterruptedInit(t *testing.T) {
	eu := bareServer(t, "eu", "10.1.0.17")
	for _, at := range []string{"Secret meridian-system/meridian-installation created", "CustomResourceDefinition zones", "Secret meridian-system/meridian-ca created", "StatefulSet"} {
		ctx, stop := context.WithCancel(t.Context())
		w := &stopping{at: at, stop: stop}
		s := Settings{}
		if strings.Contains(at, SecretRecord) {
			s = Settings{Region: "europe-west1", Network: "eu-1"}
		}
		if _, _, err := Init(ctx, eu, s, false, Progress{W: w}); err == nil || !strings.Contains(err.Error(), "was interrupted") || !strings.Contains(err.Error(), "\"meridian init --context eu\" goes on from there") {
			t.Errorf("at %s: %v\n%s", at, err, &w.said)
		}
	}
	if _, did, err := Init(t.Context(), eu, Settings{}, false, Progress{}); err != nil || did.Created == 0 {
		t.Errorf("%v %v", did, err)
	}
	if v := said(t, eu); v["network"] != "eu-1" || v["region"] != "europe-west1" {
		t.Errorf("%v", v)
	}
}

// What is wrong with a context is said as it is, and once.
func TestWrongContext(t *testing.T) {
	eu, us := bareServer(t, "eu", "10.1.0.18"), bareServer(t, "us", "10.1.0.19")
	other := rest.CopyConfig(eu.Config)
	other.CAData = us.Config.CAData
	stranger, err := NewReach("eu", other)
	if err != nil {
		t.Fatal(err)
	}
	dead := rest.CopyConfig(eu.Config)
	dead.Host = "https://10.1.0.20:1"
	gone, err := NewReach("eu", dead)
	if err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]*Reach{"has a certificate that the context does not trust": stranger, "cannot be reached": gone} {
		_, _, init := Init(t.Context(), r, Settings{Region: "europe-west1"}, false, Progress{})
		_, check := Check(t.Context(), r, Checking{})
		_, uninstall := Uninstall(t.Context(), r, Removing{}, false, Progress{})
		_, renew := Renew(t.Context(), r, "", time.Now(), Progress{})
		for what, err := range map[string]error{"init": init, "check": check, "uninstall": uninstall, "renew": renew} {
			if err == nil || strings.Count(err.Error(), want) != 1 {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// Whoever may do little is told everything that he may not, and nothing is written.
func TestFewRights(t *testing.T) {
	eu := bareServer(t, "eu", "10.1.0.13")
	ctx := t.Context()
	few := nobody(t, eu)
	_, _, err := Init(ctx, few, Settings{}, false, Progress{})
	if err == nil {
		t.Fatal("installed")
	}
	for _, want := range []string{
		"its nodes say the region, and you may not list them; name it with --region", "get/create/patch namespaces", "get/create/patch customresourcedefinitions.apiextensions.k8s.io",
		"get/create/patch clusterroles.rbac.authorization.k8s.io", "get/create/patch statefulsets.apps in meridian-system", "get/create/patch secrets in meridian-system",
		"you cannot grant what you may not do yourself", "nothing was written",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := eu.kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace is there: %v", err)
	}
	_, err = Join(ctx, few, eu, Joining{Membership: Membership{Name: "us-1"}}, false, Progress{})
	if err == nil {
		t.Fatal("joined")
	}
	for _, want := range []string{
		"eu is no host cluster", "you may not list them; name it with --region", "get/create/patch serviceaccounts in meridian-system", "list nodes", "create serviceaccounts/token in meridian-system",
		"you cannot grant what you may not do yourself: get/list/watch namespaces, get/list/watch nodes",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	t.Logf("%v", err)
}

// nobody reaches an API server as an account without any rights.
func nobody(t *testing.T, r *Reach) *Reach {
	t.Helper()
	accounts := r.kube.CoreV1().ServiceAccounts("default")
	if _, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := accounts.CreateToken(t.Context(), "nobody", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(r.Config)
	cfg.BearerToken = token.Status.Token
	as, err := NewReach("few", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return as
}
