package main

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/discovery/kube"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/placement/apply"
)

// workloads carries out, in the members, what FederatedObjects of the host cluster
// ask for. Reach is to hear how members are reached; objects, if any, how workloads fare.
func (d *daemon) workloads(host *rest.Config, objects *plainObjects) (a *apply.Applier, reach func(map[string]kube.Reach), err error) {
	c := apply.Config{Instance: d.instance, Host: credentials.Own(host), Namespace: d.namespace, Account: d.workloadsAs, Log: d.log, Registerer: d.registry}
	c.Resources = map[schema.GroupKind]string{}
	for kind, resource := range d.workloadResources {
		c.Resources[schema.ParseGroupKind(kind)] = resource
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
