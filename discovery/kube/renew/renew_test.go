package renew

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

const namespace = "meridian-system"

// aMember starts a real API server that is host and member at once, with an account
// that may ask for its own tokens.
func aMember(t *testing.T) (*cluster.Cluster, kubernetes.Interface) {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: "eu-1", Addr: lab.Loopback(), Dir: t.TempDir(), Programs: programs, NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(c.REST())
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	account := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "meridian", Namespace: namespace}}
	steps := []func() error{
		func() error {
			_, err := kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := kube.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "meridian"}}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := kube.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "token"}, Rules: []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"meridian"}, Verbs: []string{"create"}}}}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := kube.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "token"}, Subjects: account,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "token"}}, metav1.CreateOptions{})
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return c, kube
}

// known makes the kind Cluster, in short, and one object for each Secret's name.
func known(t *testing.T, clusters dynamic.Interface, secrets ...string) {
	t.Helper()
	crd := map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "clusters.meridian.dev"},
		"spec": map[string]any{
			"group": "meridian.dev", "scope": "Cluster", "names": map[string]any{"kind": "Cluster", "plural": "clusters"},
			"versions": []any{map[string]any{"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
		},
	}
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	if _, err := clusters.Resource(crds).Create(t.Context(), &unstructured.Unstructured{Object: crd}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		o := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "meridian.dev/v1alpha1", "kind": "Cluster", "metadata": map[string]any{"name": strings.TrimPrefix(s, "member-")},
			"spec": map[string]any{"credentialsRef": map[string]any{"name": s}},
		}}
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
			if _, err = clusters.Resource(v1alpha1.SchemeGroupVersion.WithResource("clusters")).Create(t.Context(), o, metav1.CreateOptions{}); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// aSecret holds a kubeconfig of the member with a token.
func aSecret(t *testing.T, c *cluster.Cluster, kube kubernetes.Interface, member, bearer string) {
	t.Helper()
	kubeconfig, err := c.KubeconfigWithToken("meridian", bearer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kube.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "member-" + member, Labels: map[string]string{MemberLabel: member}},
		Data:       map[string][]byte{credentials.SecretKey: kubeconfig},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func tokenOf(t *testing.T, kube kubernetes.Interface, member string) string {
	t.Helper()
	s, err := kube.CoreV1().Secrets(namespace).Get(t.Context(), "member-"+member, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := credentials.Parse(s.Data[credentials.SecretKey], credentials.Options{Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.BearerToken
}

func issue(t *testing.T, kube kubernetes.Interface) string {
	t.Helper()
	seconds := int64(3600)
	a, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "meridian",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Status.Token
}

// TestRenewal: a token is left alone while it is young, renewed with its own rights
// when it is time, and good for as long as the one before. Those that cannot be
// renewed are named, and hold nobody up.
func TestRenewal(t *testing.T) {
	c, kube := aMember(t)
	old := issue(t, kube)
	aSecret(t, c, kube, "eu-1", old)
	expired := forge(`{"sub":"system:serviceaccount:meridian-system:meridian","iat":1000,"exp":2000}`)
	aSecret(t, c, kube, "eu-2", expired)
	stranger := forge(`{"sub":"system:serviceaccount:meridian-system:meridian","iat":1000,"exp":99999999999}`)
	aSecret(t, c, kube, "eu-3", stranger)
	foreign, err := kube.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string][]byte{"kubeconfig": []byte("x")}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	clusters, err := dynamic.NewForConfig(c.REST())
	if err != nil {
		t.Fatal(err)
	}
	known(t, clusters, "member-eu-1", "member-eu-2", "member-eu-3", "other", "member-gone")
	r := New(Config{Host: kube, Clusters: clusters, Namespace: namespace, Options: credentials.Options{Loopback: true}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.round(t.Context())
	if tokenOf(t, kube, "eu-1") != old {
		t.Error("a token with all its life before it was renewed")
	}
	for _, want := range []string{`member=eu-2`, "only a good one gets a new one", "meridian join eu-2"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, &log)
		}
	}

	// A second must pass, or the new token would expire together with the old.
	waitPast(t, old)
	log.Reset()
	r.c.Left = 1.1 // every token's time has come
	r.round(t.Context())
	fresh := tokenOf(t, kube, "eu-1")
	if fresh == old {
		t.Fatalf("the token was not renewed:\n%s", &log)
	}
	was, err1 := readToken(old)
	is, err2 := readToken(fresh)
	if err1 != nil || err2 != nil || !is.expires.After(was.expires) || is.life() != was.life() || is.account != "meridian" {
		t.Errorf("%+v became %+v (%v %v)", was, is, err1, err2)
	}
	if tokenOf(t, kube, "eu-2") != expired || tokenOf(t, kube, "eu-3") != stranger {
		t.Error("a token was made up")
	}
	if !strings.Contains(log.String(), "member=eu-3") {
		t.Errorf("nothing is said of eu-3, whose token nobody signed:\n%s", &log)
	}
	said := log.Len()
	r.c.Left = 0.1
	r.round(t.Context())
	r.round(t.Context())
	if strings.Count(log.String()[said:], "eu-2") > 0 {
		t.Errorf("the same trouble is told again:\n%s", log.String()[said:])
	}
	now, err := kube.CoreV1().Secrets(namespace).Get(t.Context(), "other", metav1.GetOptions{})
	if err != nil || now.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("a Secret of somebody else was touched: %v", err)
	}

	// Of a member that has left nothing is shown any longer.
	if err := kube.CoreV1().Secrets(namespace).Delete(t.Context(), "member-eu-3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.round(t.Context())
	if r.metrics.shown["eu-3"] || !r.metrics.shown["eu-1"] {
		t.Errorf("metrics show %v", r.metrics.shown)
	}
}

// waitPast waits until a token issued now would say a later second.
func waitPast(t *testing.T, text string) {
	t.Helper()
	old, err := readToken(text)
	if err != nil {
		t.Fatal(err)
	}
	for time.Now().Unix() <= old.issued.Unix() {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func forge(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestReadToken(t *testing.T) {
	for text, ok := range map[string]bool{
		forge(`{"sub":"system:serviceaccount:a:b","iat":1,"exp":2}`):      true,
		forge(`{"sub":"system:serviceaccount:a:b.c","iat":1,"exp":2}`):    true,
		forge(`{"sub":"system:serviceaccount:a:b","iat":2,"exp":2}`):      false,
		forge(`{"sub":"system:serviceaccount:a:b"}`):                      false,
		forge(`{"sub":"system:serviceaccount:a/../x:b","iat":1,"exp":2}`): false,
		forge(`{"sub":"system:serviceaccount:a:b/../c","iat":1,"exp":2}`): false,
		forge(`{"sub":"kim","iat":1,"exp":2}`):                            false,
		forge(`[]`):                                                       false,
		"":                                                                false, "a.b": false, "a.%.c": false,
	} {
		if got, err := readToken(text); (err == nil) != ok {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
}
