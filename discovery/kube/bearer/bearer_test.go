package bearer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// TestAsk: a real API server says who bears tokens for which audience, and what
// each verb that RBAC allows is worth.
func TestAsk(t *testing.T) {
	programs := lab.Kube(t)
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: "host", Addr: netip.MustParseAddr("127.1.10.1"), Dir: t.TempDir(), Programs: programs, NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(c.REST())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	bear := func(name string, verbs ...string) func(audiences ...string) string {
		t.Helper()
		if _, err := kube.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if len(verbs) > 0 {
			role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"meridian.dev"}, Resources: []string{"clusters"}, Verbs: verbs}}}
			if _, err := kube.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
				RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		return func(audiences ...string) string {
			a, err := kube.CoreV1().ServiceAccounts("default").CreateToken(ctx, name,
				&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return a.Status.Token
		}
	}
	desk := func(audiences ...string) *Desk {
		t.Helper()
		d, err := New(c.REST(), audiences)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	kim := bear("kim", "update")
	for name, x := range map[string]struct {
		desk  *Desk
		token string
		want  Who // zero: ErrUnknown
	}{
		"update is enough to write":      {desk(), kim(), Who{"system:serviceaccount:default:kim", true, true}},
		"patch too":                      {desk(), bear("pat", "patch")(), Who{"system:serviceaccount:default:pat", true, true}},
		"list is to read":                {desk(), bear("lis", "list")(), Who{"system:serviceaccount:default:lis", true, false}},
		"get alone is nothing":           {desk(), bear("gus", "get")(), Who{"system:serviceaccount:default:gus", false, false}},
		"no rights":                      {desk(), bear("nob")(), Who{"system:serviceaccount:default:nob", false, false}},
		"for another audience":           {desk(), kim("vault"), Who{}},
		"for ours":                       {desk("meridian", "vault"), kim("vault"), Who{"system:serviceaccount:default:kim", true, true}},
		"for the API server, not for us": {desk("meridian"), kim(), Who{}},
		"a guess":                        {desk(), "guess", Who{}},
		"a forged one":                   {desk(), kim()[:40], Who{}},
	} {
		got, err := x.desk.Ask(ctx, x.token)
		// What RBAC was told a moment ago reaches the API server's authorizer soon after.
		for deadline := time.Now().Add(10 * time.Second); got != x.want && time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
			got, err = x.desk.Ask(ctx, x.token)
		}
		if got != x.want || errors.Is(err, ErrUnknown) != (x.want == Who{}) || err != nil && x.want != (Who{}) {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, x.want)
		}
	}

	// A daemon without the right to ask says which one it lacks, and lets nobody in.
	bare := c.REST()
	bare.CertData, bare.KeyData, bare.CertFile, bare.KeyFile = nil, nil, "", ""
	bare.BearerToken = kim()
	d, err := New(bare, nil)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := d.Ask(ctx, kim()); who != (Who{}) || err == nil || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "grant meridiand's ServiceAccount create on tokenreviews") {
		t.Errorf("%+v %v", who, err)
	}
}
