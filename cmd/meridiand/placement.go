package main

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/discovery/kube"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/placement/apply"
)

// workloads carries out, in the members, what FederatedObjects of the host cluster
// ask for. Reach is to hear how members are reached; objects, if any, how workloads fare.
func (d *daemon) workloads(host *rest.Config, objects *plainObjects) (a *apply.Applier, reach func(map[string]kube.Reach), err error) {
	c := apply.Config{
		Instance: d.instance, Host: credentials.Own(host), Namespace: d.namespace, Log: d.log, Registerer: d.registry,
		Account: d.config.workloadsAs,
	}
	if c.Resources, err = d.config.resources(); err != nil {
		return nil, nil, err
	}
	if objects != nil {
		c.Fares = objects.Fares
	}
	a, err = apply.New(c)
	if err != nil {
		return nil, nil, err
	}
	clients := map[string]apply.Member{} // kept, since connections are made anew only for other credentials
	return a, func(members map[string]kube.Reach) {
		now := make(map[string]apply.Member, len(members))
		for name, m := range members {
			before := clients[name]
			if m.Config == nil || before.Token == m.Token {
				now[name] = before
				continue
			}
			client, err := credentials.Client(m.Config)
			if err != nil {
				d.log.Warn("a member cannot be connected to for workloads", "cluster", name, "err", err)
				now[name] = before
				continue
			}
			now[name] = apply.Member{Config: m.Config, Client: client, Token: m.Token}
		}
		clients = now
		a.Members(now)
	}, nil
}

// resources are those that --workload-resource names, by kind.
func (c config) resources() (map[schema.GroupKind]string, error) {
	out := map[schema.GroupKind]string{}
	for _, text := range c.workloadResources {
		kind, resource, _ := strings.Cut(text, "=")
		gk := schema.ParseGroupKind(kind)
		if gk.Kind == "" || field.Subdomain(gk.Group) != nil || field.Label(resource) != nil {
			return nil, fmt.Errorf("--workload-resource %.80q: write a kind with its group, and its plural: Widget.example.com=widgets", text)
		}
		out[gk] = resource
	}
	return out, nil
}
