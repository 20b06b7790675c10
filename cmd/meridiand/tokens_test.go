package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/trust"
)

// aHost is a real API server that holds what the chart renders.
func aHost(t *testing.T) (*cluster.Cluster, kubernetes.Interface) {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: "host", Addr: netip.MustParseAddr("127.1.9.1"), Dir: t.TempDir(), Programs: programs, NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	reach, err := install.NewReach("host", c.REST())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := install.Render(install.Namespace, map[string]any{"region": "europe-west1", "createNamespace": true})
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if _, err := reach.Apply(t.Context(), objects, install.Progress{W: &said}); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	kube, err := kubernetes.NewForConfig(c.REST())
	if err != nil {
		t.Fatal(err)
	}
	return c, kube
}

// aPerson is a ServiceAccount bound to a ClusterRole, if one is named, and a token of it.
func aPerson(t *testing.T, kube kubernetes.Interface, name, role string, audiences ...string) string {
	t.Helper()
	ctx := t.Context()
	if _, err := kube.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if role != "" {
		_, err := kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tokenOf(t, kube, "default", name, audiences...)
}

func tokenOf(t *testing.T, kube kubernetes.Interface, namespace, account string, audiences ...string) string {
	t.Helper()
	a, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Status.Token
}

// TestTokensOfKubernetes: who bears a token of the host cluster may do by the admin
// API what RBAC lets him do with Clusters; the daemon has the chart's rights only.
func TestTokensOfKubernetes(t *testing.T) {
	host, kube := aHost(t)
	own, err := host.KubeconfigWithToken("meridiand", tokenOf(t, kube, install.Namespace, "meridiand"))
	if err != nil {
		t.Fatal(err)
	}
	viewer, operator := aPerson(t, kube, "vera", "meridian-viewer"), aPerson(t, kube, "otto", "meridian-operator")
	nobody, elsewhere := aPerson(t, kube, "nora", ""), aPerson(t, kube, "elsa", "meridian-operator", "vault")

	ca := anAuthority(t)
	c := aConfig(t)
	c.admin, c.namespace = freePort(t), install.Namespace
	c.identity = issue(t, t.TempDir(), ca, trust.Control, "europe-west1", "eu-0")
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(c.kubeconfig, own, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, c, shopFiles)
	papers, err := trust.ParseBundle(ca.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	serving(t, c, func() {
		api := adminv1.NewAdminClient(dial(t, c.admin, papers))
		list := func(token string) error {
			_, err := api.ListRegions(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token), &adminv1.ListRegionsRequest{})
			return err
		}
		drain := func(token string) (string, error) {
			got, err := api.Drain(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token),
				&adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "europe-west1", Force: true})
			return got.GetDrain().GetBy(), err
		}
		for _, p := range []struct {
			who, token  string
			read, write codes.Code
			says        string
		}{
			{"viewer", viewer, codes.OK, codes.PermissionDenied, ""},
			{"operator", operator, codes.OK, codes.OK, ""},
			{"nobody in particular", nobody, codes.PermissionDenied, codes.PermissionDenied, "system:serviceaccount:default:nora may do nothing here"},
			{"bearer of another's token", elsewhere, codes.Unauthenticated, codes.Unauthenticated, "nobody's"},
			{"guesser", "a-guess", codes.Unauthenticated, codes.Unauthenticated, "nobody's"},
			{"nobody", "", codes.Unauthenticated, codes.Unauthenticated, ""},
		} {
			err := list(p.token)
			if status.Code(err) != p.read || p.says != "" && !strings.Contains(err.Error(), p.says) {
				t.Errorf("%s lists: %v", p.who, err)
			}
			by, err := drain(p.token)
			if status.Code(err) != p.write || err == nil && by != "system:serviceaccount:default:otto" {
				t.Errorf("%s drains: %v, by %q", p.who, err, by)
			}
		}

		// A token ends with its account, when what was remembered of it has ended too.
		if err := kube.CoreV1().ServiceAccounts("default").Delete(t.Context(), "vera", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for {
			err := list(viewer)
			if status.Code(err) == codes.Unauthenticated {
				break
			}
			if err != nil || time.Since(began) > time.Minute {
				t.Fatalf("a token whose account is gone: %v after %s", err, time.Since(began))
			}
			<-time.After(time.Second)
		}
		t.Logf("refused %s after its account was deleted", time.Since(began).Round(time.Second))

		// Out of reach is no "allowed", and no "nobody's" either.
		late := aPerson(t, kube, "lena", "meridian-operator")
		if err := host.StopAPI(); err != nil {
			t.Fatal(err)
		}
		if err := list(late); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot be found out at present") {
			t.Errorf("while Kubernetes is away: %v", err)
		}
	})
}

// Without an identity no token is asked for, since it would travel in the open.
func TestNoTokensInPlaintext(t *testing.T) {
	c := config{tokenAudiences: []string{"meridian"}, kubeconfig: "x"}
	if err := c.checkKube(); err == nil || !strings.Contains(err.Error(), "--identity") {
		t.Errorf("got %v", err)
	}
	host := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(host, []byte("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	d := &daemon{config: config{kubeconfig: host}, log: slog.New(slog.NewTextHandler(&told, nil))}
	if a, err := d.tokens(); a != nil || err != nil || !strings.Contains(told.String(), "in plaintext") {
		t.Errorf("%v %v %s", a, err, &told)
	}
}
