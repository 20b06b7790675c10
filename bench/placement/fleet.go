package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/bench/role"
)

// The shares of kinds: of five templates three are Deployments that are divided, one is
// a ConfigMap and one a Service, which go everywhere.
const (
	ofFive   = 5
	isMap    = 3
	isServe  = 4
	replicas = 100
)

func namespaceOf(i int) string { return fmt.Sprintf("shop-%02d", i%20) }
func nameOf(i int) string      { return fmt.Sprintf("workload-%04d", i) }
func memberName(i int) string  { return fmt.Sprintf("member-%02d", i) }

// template is an object as people write it, of about 2 kB.
func template(i, variant int) map[string]any {
	labels := map[string]any{"app.kubernetes.io/name": nameOf(i), "app.kubernetes.io/part-of": "shop", "team": fmt.Sprintf("team-%02d", i%40)}
	meta := map[string]any{"name": nameOf(i), "labels": labels}
	switch i % ofFive {
	case isMap:
		return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": map[string]any{
			"variant": fmt.Sprint(variant), "settings.yaml": string(slices.Repeat([]byte("key: some value of it\n"), 60))}}
	case isServe:
		return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": map[string]any{
			"selector": labels, "ports": []any{map[string]any{"name": "http", "port": 80 + variant, "targetPort": 8080, "protocol": "TCP"}}}}
	}
	var containers []any
	for _, name := range []string{"web", "proxy"} {
		var env []any
		for e := range 8 {
			env = append(env, map[string]any{"name": fmt.Sprintf("SETTING_%d", e), "value": fmt.Sprintf("value-%d-of-%s", e, nameOf(i))})
		}
		probe := map[string]any{"httpGet": map[string]any{"path": "/healthz", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 1}
		containers = append(containers, map[string]any{
			"name": name, "image": fmt.Sprintf("registry.example/shop/%s:1.%d", name, variant), "env": env,
			"ports":          []any{map[string]any{"name": "http", "containerPort": 8080, "protocol": "TCP"}},
			"readinessProbe": probe, "livenessProbe": probe,
			"resources":       map[string]any{"requests": map[string]any{"cpu": "100m", "memory": "128Mi"}, "limits": map[string]any{"memory": "256Mi"}},
			"securityContext": map[string]any{"runAsNonRoot": true, "allowPrivilegeEscalation": false},
		})
	}
	return map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": map[string]any{
		"replicas": replicas, "selector": map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": nameOf(i)}},
		"template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": containers}}}}
}

func federated(i, variant int) object {
	return object{"apiVersion": objectResource.groupVersion(), "kind": objectResource.kind,
		"metadata": map[string]any{"namespace": namespaceOf(i), "name": nameOf(i)},
		"spec":     map[string]any{"template": template(i, variant), "deletion": "Delete"}}
}

// stubs is the role of all API servers: the host and the members.
type stubs struct {
	o       options
	host    *stub
	members []*stub
}

func serve(o options, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	f := &stubs{o: o, host: newStub("host", socket(o, "host"), ofHost)}
	for i := range o.clusters {
		f.members = append(f.members, newStub(memberName(i), socket(o, memberName(i)), ofMember))
	}
	for _, s := range append(slices.Clone(f.members), f.host) {
		names := []string{"kube-system", "meridian-system"}
		for i := range min(o.templates, 20) {
			names = append(names, namespaceOf(i))
		}
		for _, name := range names {
			ns := object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
			s.shelf.fresh(ns)
			ns.meta()["uid"] = s.name + "-" + name
			if _, err := s.shelf.put(namespaceResource, ns); err != nil {
				return err
			}
		}
		if err := s.up(ctx); err != nil {
			return err
		}
	}
	for i := range o.templates {
		fo := federated(i, 0)
		f.host.shelf.fresh(fo)
		if _, err := f.host.shelf.put(objectResource, fo); err != nil {
			return err
		}
	}
	return role.Obey(in, out, func(c command) (reply, error) { return f.obey(ctx, c) })
}

func (f *stubs) obey(ctx context.Context, c command) (reply, error) {
	var r reply
	switch c.Do {
	case "arm":
		for _, s := range append(slices.Clone(f.members), f.host) {
			s.arm()
		}
	case "counts":
		f.counts(c, &r)
	case "change":
		return reply{At: time.Now().UnixNano()}, f.edit(c.Which, c.Variant)
	case "stir":
		for _, s := range f.members {
			n, err := s.stir(c.Which)
			if err != nil {
				return r, err
			}
			r.N += n
		}
	case "down":
		return r, f.members[c.Which].down()
	case "up":
		return r, f.members[c.Which].up(ctx)
	}
	return r, nil
}

// counts sums up. Own is which workload may be written to.
func (f *stubs) counts(c command, r *reply) {
	own := namespaceOf(c.Which) + "/" + nameOf(c.Which)
	for _, s := range f.members {
		t, touched := s.counts()
		r.Members.add(t)
		for name, n := range touched {
			if name != own {
				r.Foreign += n
			}
		}
	}
	var touched map[string]int
	r.Host, touched = f.host.counts()
	for name, n := range touched {
		if name != own {
			r.Foreign += n
		}
	}
	f.host.mu.Lock()
	r.N = f.host.pleased
	f.host.mu.Unlock()
}

// edit is an author who changes a workload.
func (f *stubs) edit(i, variant int) error {
	s := f.host
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.shelf.items[key{objectResource.name, namespaceOf(i), nameOf(i)}]
	if have == nil {
		return fmt.Errorf("there is no workload %d", i)
	}
	o := have.object()
	after := maps.Clone(o)
	after["spec"] = federated(i, variant)["spec"]
	n, _ := o.meta()["generation"].(float64)
	after.meta()["generation"] = n + 1
	s.pleased += pleased(after) - pleased(have.object())
	_, err := s.shelf.put(objectResource, after)
	return err
}

func socket(o options, name string) string { return filepath.Join(o.dir, name+".sock") }
