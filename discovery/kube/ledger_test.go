package kube

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

func (k *keeper) routes(source, name string) *fleet.RouteSet {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, _ := k.facts[source][fleet.FactName{Kind: fleet.KindRoutes, Name: name}].(*fleet.RouteSet)
	return s
}

// claims are what two Ingresses say of the host shop.example.com.
func (k *keeper) claims(source string) (old, young time.Time) {
	if s := k.routes(source, "ingress/default/old"); s != nil {
		old = s.Claim("shop.example.com").Since
	}
	if s := k.routes(source, "ingress/late/young"); s != nil {
		young = s.Claim("shop.example.com").Since
	}
	return old, young
}

// daemon is the way of the chart's ServiceAccount to the API server.
func (s *site) daemon(t *testing.T) *rest.Config {
	t.Helper()
	kubeconfig, err := s.KubeconfigFor("system:serviceaccount:" + v1alpha1.HostNamespace + ":meridiand")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// grant gives the rights that the chart gives.
func (s *site) grant(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/manifests/meridian.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		for kind, path := range map[string]string{"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings",
			"Role": "namespaces/" + v1alpha1.HostNamespace + "/roles", "RoleBinding": "namespaces/" + v1alpha1.HostNamespace + "/rolebindings"} {
			if strings.Contains(doc, "\nkind: "+kind+"\n") && (strings.Contains(doc, "name: meridian:host\n") || strings.Contains(doc, "name: meridian:credentials\n")) {
				s.post(t, "/apis/rbac.authorization.k8s.io/v1/"+path, doc)
			}
		}
	}
}

const rolePath = "/apis/rbac.authorization.k8s.io/v1/namespaces/" + v1alpha1.HostNamespace + "/roles/meridian:credentials"

func (s *site) ledger(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	o, err := s.admin.CoreV1().ConfigMaps(v1alpha1.HostNamespace).Get(t.Context(), LedgerName, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return o
}

// wantLedger waits until the ledger says this.
func (s *site) wantLedger(t *testing.T, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := s.ledger(t).Data[ledgerKey]; got != want {
			return fmt.Errorf("the ledger says %q, want %q", got, want)
		}
		return nil
	})
}

// A diary of two namespaces that claim one host: that of a young Ingress has it, and
// an old Ingress adds it later. The daemon has the rights that the chart gives.
func TestLedger(t *testing.T) {
	host := sites(t, "host")["host"]
	host.install(t)
	host.grant(t)
	host.post(t, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: late}}`)
	host.post(t, ingressesPath, ingress("old", "meridian", "old.example.com", ""))
	eventually(t, func() error { // the second one is later, by a whole second as API servers count
		ing, err := host.admin.NetworkingV1().Ingresses("default").Get(t.Context(), "old", metav1.GetOptions{})
		if err == nil && time.Since(ing.CreationTimestamp.Time) < 1100*time.Millisecond {
			err = fmt.Errorf("not late yet")
		}
		return err
	})
	latePath := strings.Replace(ingressesPath, "default", "late", 1)
	host.post(t, latePath, ingress("young", "meridian", "shop.example.com", ""))
	b := &brain{keeper: newKeeper()}
	const source = "i/kube/host"
	rights := func(rules string) {
		host.patch(t, rolePath, `{"rules":[{"apiGroups":["coordination.k8s.io"],"resources":["leases"],"verbs":["get","list","watch","create","update"]}`+rules+`]}`)
	}
	const mine = `,{"apiGroups":[""],"resources":["configmaps"],"resourceNames":["` + LedgerName + `"],"verbs":["get","list","watch","patch"]}`
	add := func() {
		rule := func(host string) string {
			return `{"host":"` + host + `","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"shop","port":{"number":80}}}}]}}`
		}
		host.patch(t, ingressesPath+"/old", `{"spec":{"rules":[`+rule("old.example.com")+`,`+rule("shop.example.com")+`]}}`)
	}
	both := func(old, young time.Time) string {
		return old.Format(time.RFC3339) + " default shop.example.com\n" + young.Format(time.RFC3339) + " late shop.example.com\n"
	}
	var old, young time.Time
	rights("")
	i := b.start(t, Config{Host: host.daemon(t)})

	step(t, "without rights memory goes on, and whoever can help is told", func(t *testing.T) {
		b.wantProblem(t, source, "ConfigMap meridian-system/meridian-hosts in host: Forbidden: we may not read")
		b.until(t, func() error {
			if b.routes(source, "ingress/default/old") == nil || b.routes(source, "ingress/late/young") == nil {
				return fmt.Errorf("the Ingresses are not known yet")
			}
			return nil
		})
		add()
		b.until(t, func() error {
			if old, young = b.claims(source); !old.After(young) || young.IsZero() {
				return fmt.Errorf("claimed since %v and %v", old, young)
			}
			return nil
		})
		b.wantProblem(t, source, "we may not write")
	})
	step(t, "with the chart's rights it is recorded", func(t *testing.T) {
		rights(mine + `,{"apiGroups":[""],"resources":["configmaps"],"verbs":["create"]}`)
		host.wantLedger(t, both(old, young))
		b.until(t, func() error {
			for _, l := range b.lines(source) {
				if strings.Contains(l, LedgerName) {
					return fmt.Errorf("%s", l)
				}
			}
			return nil
		})
	})
	step(t, "the Ingress that came later shows nothing of the host", func(t *testing.T) {
		eventually(t, func() error {
			p := i.scribe.plan.Load()
			h, ok := p.Routes.Host("shop.example.com")
			if !ok || h.Routes[0].Origin.Namespace != "late" || len(h.Routes) != 1 {
				return fmt.Errorf("it is %+v", h)
			}
			return nil
		})
	})
	step(t, "another replica, which remembers nothing, says the same", func(t *testing.T) {
		k := newKeeper()
		started(t, Config{Host: host.daemon(t), Tell: k.tell})
		k.until(t, func() error {
			if o, y := k.claims(source); !o.Equal(old) || !y.Equal(young) {
				return fmt.Errorf("claimed since %v and %v, want %v and %v", o, y, old, young)
			}
			return nil
		})
	})
	step(t, "nothing changes, nothing is written", func(t *testing.T) {
		before := host.ledger(t).ResourceVersion
		for n := range 10 {
			host.patch(t, ingressesPath+"/old", fmt.Sprintf(`{"metadata":{"labels":{"n":"%d"}}}`, n))
			i.poke()
		}
		host.post(t, ingressesPath, ingress("mark", "meridian", "mark.example.com", ""))
		b.until(t, func() error {
			if b.routes(source, "ingress/default/mark") == nil {
				return fmt.Errorf("it has not looked yet")
			}
			return nil
		})
		if after := host.ledger(t).ResourceVersion; after != before {
			t.Errorf("the version went from %s to %s", before, after)
		}
	})
	step(t, "what is deleted is written again", func(t *testing.T) {
		for range 2 {
			host.delete(t, "/api/v1/namespaces/"+v1alpha1.HostNamespace+"/configmaps/"+LedgerName)
			host.wantLedger(t, both(old, young))
		}
	})
	step(t, "what is not understood is told and left as it is, and takes nothing away", func(t *testing.T) {
		path := "/api/v1/namespaces/" + v1alpha1.HostNamespace + "/configmaps/" + LedgerName
		host.patch(t, path, `{"data":{"claims":"long ago default shop.example.com\n"}}`)
		b.wantProblem(t, source, "data.claims: line 1: ")
		if o, y := b.claims(source); !o.Equal(old) || !y.Equal(young) {
			t.Errorf("claimed since %v and %v, was %v and %v", o, y, old, young)
		}
		host.wantLedger(t, "long ago default shop.example.com\n")
		host.patch(t, path, `{"data":{"claims":""}}`)
		host.wantLedger(t, both(old, young))
	})
	step(t, "a host that leaves its object is claimed anew when it is back", func(t *testing.T) {
		host.patch(t, ingressesPath+"/old", `{"spec":{"rules":[{"host":"old.example.com","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"shop","port":{"number":80}}}}]}}]}}`)
		host.wantLedger(t, "")
		eventually(t, func() error {
			if time.Since(old) < 1100*time.Millisecond {
				return fmt.Errorf("not late yet")
			}
			return nil
		})
		add()
		b.until(t, func() error {
			o, _ := b.claims(source)
			if set := b.routes(source, "ingress/default/old"); !o.After(old) || len(set.Routes) != 2 {
				return fmt.Errorf("claimed since %v, was %v", o, old)
			}
			return nil
		})
		old, _ = b.claims(source)
		host.wantLedger(t, both(old, young))
	})
	step(t, "who gives a host up leaves it to the next", func(t *testing.T) {
		host.delete(t, latePath+"/young")
		eventually(t, func() error {
			if h, ok := i.scribe.plan.Load().Routes.Host("shop.example.com"); !ok || h.Routes[0].Origin.Namespace != "default" {
				return fmt.Errorf("it is %+v", h)
			}
			return nil
		})
		host.wantLedger(t, old.Format(time.RFC3339)+" default shop.example.com\n")
	})
}
