package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// place is an API server with kubectl, as a person uses it.
type place struct {
	*cluster.Cluster
	t       *testing.T
	kubectl string
	home    string
}

func (p *place) ask(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), p.kubectl, append([]string{"--kubeconfig", p.KubeconfigFile(), "--cache-dir", p.home}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (p *place) do(stdin string, args ...string) string {
	p.t.Helper()
	out, err := p.ask(stdin, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// want waits until kubectl prints this; fields are parted by one blank.
func (p *place) want(t *testing.T, want string, args ...string) {
	t.Helper()
	eventually(t, func() error {
		out, err := p.ask("", args...)
		if out = strings.Join(strings.Fields(out), " "); !strings.Contains(out, want) {
			return errors.Join(fmt.Errorf("%s: kubectl %v prints %q, want %q", p.Name(), args, out, want), err)
		}
		return nil
	})
}

// gone waits until an object is not there.
func (p *place) gone(t *testing.T, args ...string) {
	t.Helper()
	p.want(t, "NotFound", append([]string{"get"}, args...)...)
}

// dedicated is a dedicated API with two members and a daemon's configuration.
func dedicated(t *testing.T) (c config, api, eu, us *place) {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	var all []*place
	for _, name := range []string{"api", "eu", "us"} {
		started, err := cluster.Start(t.Context(), group, cluster.Config{Name: name, Addr: lab.Loopback(), Dir: t.TempDir(), Programs: programs, NoControllers: name == "api"})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &place{Cluster: started, t: t, kubectl: programs.Kubectl, home: t.TempDir()})
	}
	api, eu, us = all[0], all[1], all[2]
	host, err := install.NewReach("api", api.REST())
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if _, err := install.Furnish(t.Context(), host, install.Namespace, nil, install.Progress{W: &said}); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	for _, m := range []*place{eu, us} {
		member, err := install.NewReach(m.Name(), m.REST())
		if err != nil {
			t.Fatal(err)
		}
		order := install.Joining{Server: member.Config.Host, AnyEndpoint: true, Workloads: append(install.DefaultWorkloads(), "crontabs.example.com")}
		order.Name, order.Region = m.Name(), map[string]fleet.Region{"eu": "europe-west1", "us": "us-east1"}[m.Name()]
		if _, err := install.Join(t.Context(), member, host, order, false, install.Progress{W: &said}); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
	}
	own, err := api.KubeconfigFor("system:serviceaccount:meridian-system:meridiand", "system:serviceaccounts", "system:serviceaccounts:meridian-system")
	if err != nil {
		t.Fatal(err)
	}
	c = aConfig(t)
	c.watch = ""
	c.namespace, c.kubeLoopback, c.plainObjects = install.Namespace, true, true
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(c.kubeconfig, own, 0o600); err != nil {
		t.Fatal(err)
	}
	apart(t, c.kubeconfig)
	return c, api, eu, us
}

// apart puts the certificates of a kubeconfig into files beside it, as a Secret has them.
func apart(t *testing.T, file string) {
	t.Helper()
	k, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, data *[]byte, path *string) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), *data, 0o600); err != nil {
			t.Fatal(err)
		}
		*data, *path = nil, name
	}
	for _, c := range k.Clusters {
		put("ca.crt", &c.CertificateAuthorityData, &c.CertificateAuthority)
	}
	for _, a := range k.AuthInfos {
		put("tls.crt", &a.ClientCertificateData, &a.ClientCertificate)
		put("tls.key", &a.ClientKeyData, &a.ClientKey)
	}
	data, err := clientcmd.Write(*k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

const shopObjects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "whereami:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: shop}
data: {hello: world}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop, labels: {app: api}}
spec:
  replicas: 4
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: "whereami:1"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: shop}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "whereami:1"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: shop, labels: {meridian.dev/federate: "false"}}
`

// ready marks the pods of a member's workload as ready, as a kubelet does.
func (p *place) ready(t *testing.T, selector string) {
	t.Helper()
	kube, err := kubernetes.NewForConfig(p.REST())
	if err != nil {
		t.Fatal(err)
	}
	pods, err := kube.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		patch := fmt.Sprintf(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":%q}]}}`, time.Now().UTC().Add(-time.Second).Format(time.RFC3339))
		if _, err := kube.CoreV1().Pods("shop").Patch(t.Context(), pod.Name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
}

// A diary of somebody who writes plain objects into a dedicated API and has them run in
// two clusters: real API servers, kubectl, and a daemon with the chart's rights.
func TestPlainObjects(t *testing.T) {
	c, api, eu, us := dedicated(t)
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, f) {
			t.FailNow()
		}
	}
	serving(t, c, func() {
		step("what is created there runs in the clusters", func(t *testing.T) {
			api.do(shopObjects, "create", "-f", "-")
			for _, m := range []*place{eu, us} {
				m.want(t, "web 3 3", "get", "rs", "-n", "shop", "web", "--no-headers")
				m.want(t, "api 0/2 2", "get", "deploy", "-n", "shop", "api", "--no-headers")
				m.want(t, "world", "get", "cm", "-n", "shop", "words", "-o", "jsonpath={.data.hello}")
				m.want(t, "true", "get", "svc", "-n", "shop", "web", "-o", `jsonpath={.metadata.labels.meridian\.dev/federate}`)
				m.want(t, "agent 0", "get", "ds", "-n", "shop", "agent", "--no-headers")
			}
			api.want(t, "replicaset-web ReplicaSet 6 0 2/2 True", "get", "federatedobjects", "-n", "shop", "replicaset-web", "--no-headers")
			if out, err := eu.ask("", "get", "secret", "-n", "shop", "mine"); err == nil {
				t.Errorf("what is to stay has gone: %s", out)
			}
			if out := api.do("", "get", "federatedobjects", "-A", "--no-headers"); strings.Count(out, "\n")+1 != 5 {
				t.Errorf("federated are\n%s", out)
			}
		})

		step("its status is the sum", func(t *testing.T) {
			api.want(t, "web 6 6 0", "get", "rs", "-n", "shop", "web", "--no-headers")
			eu.ready(t, "app=web")
			api.want(t, "web 6 6 3", "get", "rs", "-n", "shop", "web", "--no-headers")
			us.ready(t, "app=web")
			api.want(t, "web 6 6 6", "get", "rs", "-n", "shop", "web", "--no-headers")
			api.want(t, "api 0/4 4 0", "get", "deploy", "-n", "shop", "api", "--no-headers")
			eu.ready(t, "app=api")
			us.ready(t, "app=api")
			api.do("", "rollout", "status", "-n", "shop", "deployment/api", "--timeout=20s")
			t.Logf("one big cluster:\n%s", api.do("", "get", "rs,deploy,ds,svc,ingress,clusters,cm,secret", "-n", "shop"))
		})

		step("a change goes everywhere", func(t *testing.T) {
			api.do("", "scale", "-n", "shop", "rs/web", "--replicas=10")
			for _, m := range []*place{eu, us} {
				m.want(t, "web 5 5", "get", "rs", "-n", "shop", "web", "--no-headers")
			}
			api.want(t, "web 10 10 6", "get", "rs", "-n", "shop", "web", "--no-headers")
			api.do("", "patch", "-n", "shop", "cm/words", "--type=merge", "-p", `{"data":{"hello":"you"}}`)
			us.want(t, "you", "get", "cm", "-n", "shop", "words", "-o", "jsonpath={.data.hello}")
		})

		step("the eldest Placement counts and the other is told", func(t *testing.T) {
			placement := `{"apiVersion":"meridian.dev/v1alpha1","kind":"Placement","metadata":{"name":%q,"namespace":"shop"},
				"spec":{"objects":[{"apiVersion":"v1","kind":"ConfigMap","name":"words"}],"where":{"clusters":[%q]}}}`
			api.do(fmt.Sprintf(placement, "elder", "eu"), "create", "-f", "-")
			us.gone(t, "cm", "-n", "shop", "words")
			eu.want(t, "you", "get", "cm", "-n", "shop", "words", "-o", "jsonpath={.data.hello}")
			api.want(t, "it places 1 objects", "get", "placement", "-n", "shop", "elder", "-o", `jsonpath={.status.conditions[?(@.type=="Effective")].message}`)
			<-time.After(1100 * time.Millisecond) // ages are told to the second
			api.do(fmt.Sprintf(placement, "younger", "us"), "create", "-f", "-")
			api.want(t, "ConfigMap words by elder", "get", "placement", "-n", "shop", "younger", "-o", `jsonpath={.status.conditions[?(@.type=="Effective")].message}`)
			us.gone(t, "cm", "-n", "shop", "words")
			api.do("", "delete", "placement", "-n", "shop", "elder")
			us.want(t, "you", "get", "cm", "-n", "shop", "words", "-o", "jsonpath={.data.hello}")
			eu.gone(t, "cm", "-n", "shop", "words")
		})

		step("nothing is written while nothing changes", func(t *testing.T) {
			versions := func() string {
				return api.do("", "get", "federatedobjects,placements,rs,deploy,ds,svc,cm,secret", "-n", "shop", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
			}
			before, since := versions(), time.Now()
			eventually(t, func() error {
				if now := versions(); now != before {
					before, since = now, time.Now()
				}
				if quiet := time.Since(since); quiet < 4*time.Second {
					return fmt.Errorf("quiet for %s only:\n%s", quiet, before)
				}
				return nil
			})
		})

		step("a kind of somebody's own is federated when a Placement names it", func(t *testing.T) {
			crd := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"crontabs.example.com"},"spec":{"group":"example.com","scope":"Namespaced",
				"names":{"plural":"crontabs","singular":"crontab","kind":"CronTab"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}}`
			for _, p := range []*place{api, eu, us} {
				p.do(crd, "create", "-f", "-")
				p.do("", "wait", "--for=condition=Established", "crd/crontabs.example.com", "--timeout=20s")
			}
			api.do(`{"apiVersion":"example.com/v1","kind":"CronTab","metadata":{"name":"nightly","namespace":"shop"},"spec":{"at":"3"}}`, "create", "-f", "-")
			api.do(`{"apiVersion":"meridian.dev/v1alpha1","kind":"Placement","metadata":{"name":"tabs","namespace":"shop"},"spec":{"objects":[{"apiVersion":"example.com/v1","kind":"CronTab"}],"where":{"clusters":["eu"]}}}`, "create", "-f", "-")
			eu.want(t, "3", "get", "crontab", "-n", "shop", "nightly", "-o", "jsonpath={.spec.at}")
			us.gone(t, "crontab", "-n", "shop", "nightly")
		})

		step("what is in the way in a cluster is told to the object's author", func(t *testing.T) {
			eu.do(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"theirs","namespace":"shop"},"data":{"a":"theirs"}}`, "create", "-f", "-")
			api.do(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"theirs","namespace":"shop"},"data":{"a":"ours"}}`, "create", "-f", "-")
			us.want(t, "ours", "get", "cm", "-n", "shop", "theirs", "-o", "jsonpath={.data.a}")
			api.want(t, "eu: the cluster has a ConfigMap of this name", "get", "events", "-n", "shop", "--field-selector", "involvedObject.kind=ConfigMap,involvedObject.name=theirs", "-o", "jsonpath={.items[*].message}")
			eu.want(t, "theirs", "get", "cm", "-n", "shop", "theirs", "-o", "jsonpath={.data.a}")
		})

		step("what is deleted goes everywhere", func(t *testing.T) {
			api.do("", "delete", "rs", "-n", "shop", "web", "--timeout=20s")
			eu.gone(t, "rs", "-n", "shop", "web")
			us.gone(t, "rs", "-n", "shop", "web")
			api.gone(t, "federatedobject", "-n", "shop", "replicaset-web")
			api.do("", "delete", "deploy", "-n", "shop", "api", "--cascade=orphan", "--timeout=20s")
			eu.want(t, "api 2/2", "get", "deploy", "-n", "shop", "api", "--no-headers")
		})

		step("a cluster that is silent keeps what is deleted, until it is let go of", func(t *testing.T) {
			api.do(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"last","namespace":"shop"},"data":{"a":"b"}}`, "create", "-f", "-")
			us.want(t, "b", "get", "cm", "-n", "shop", "last", "-o", "jsonpath={.data.a}")
			if err := us.StopAPI(); err != nil {
				t.Fatal(err)
			}
			api.want(t, "Unreachable", "get", "federatedobject", "-n", "shop", "configmap-last", "-o", "jsonpath={.status.clusters[*].state}")
			api.do("", "delete", "cm", "-n", "shop", "last", "--wait=false")
			api.want(t, "meridian.dev/let-go", "get", "events", "-n", "shop", "--field-selector", "involvedObject.name=last,reason=Deleting", "-o", "jsonpath={.items[*].message}")
			eu.gone(t, "cm", "-n", "shop", "last")
			api.do("", "annotate", "cm", "-n", "shop", "last", "meridian.dev/let-go=true")
			api.gone(t, "cm", "-n", "shop", "last")
			if err := us.StartAPI(t.Context()); err != nil {
				t.Fatal(err)
			}
			api.want(t, "Applied", "get", "federatedobject", "-n", "shop", "service-web", "-o", `jsonpath={.status.clusters[?(@.cluster=="us")].state}`)
		})

		step("a namespace ends when its clusters have let go what is in it", func(t *testing.T) {
			api.do("", "delete", "namespace", "shop", "--timeout=25s")
			us.gone(t, "cm", "-n", "shop", "words")
			us.gone(t, "svc", "-n", "shop", "web")
			eu.want(t, "theirs", "get", "cm", "-n", "shop", "theirs", "-o", "jsonpath={.data.a}")
			eu.want(t, "Active", "get", "namespace", "shop", "-o", "jsonpath={.status.phase}")
			api.gone(t, "namespace", "shop")
		})

		step("nothing is done beside controllers", func(t *testing.T) {
			lease, err := json.Marshal(map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": "kube-controller-manager", "namespace": "kube-system"},
				"spec": map[string]any{"holderIdentity": "x", "renewTime": metav1.NewMicroTime(time.Now())}})
			if err != nil {
				t.Fatal(err)
			}
			api.do(string(lease), "create", "-f", "-")
		})
	})
	serving(t, c, func() {
		api.do(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"idle","namespace":"default"}}`, "create", "-f", "-")
		eventually(t, func() error { return metric(t, c, "meridian_placement_leads 1") })
		<-time.After(3 * time.Second)
		if out, err := eu.ask("", "get", "cm", "idle"); err == nil {
			t.Errorf("it was federated beside controllers: %s", out)
		}
	})
}
