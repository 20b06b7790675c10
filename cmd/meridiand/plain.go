package main

import (
	"context"
	"sync/atomic"

	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/placement/apply"
	"github.com/meridian-lb/meridian/placement/plain"
)

// plainObjects federates plain objects while the replica that writes workloads is this one.
type plainObjects struct {
	*plain.Federator
	writing atomic.Pointer[apply.Applier]
}

// plain federates the plain objects of a dedicated API; nil: it is not asked for.
func (d *daemon) plain(host *rest.Config) (*plainObjects, error) {
	if !d.config.plainObjects {
		return nil, nil //nolint:nilnil // none is fine
	}
	p := &plainObjects{}
	var err error
	p.Federator, err = plain.New(plain.Config{
		Instance: d.instance, API: credentials.Own(host), Namespace: d.namespace, Log: d.log, Registerer: d.registry,
		Writing: func() context.Context {
			if a := p.writing.Load(); a != nil {
				return a.Writing()
			}
			return nil
		},
	})
	return p, err
}
