package main

import (
	"context"
	"errors"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/discovery/kube/bearer"
)

// tokens has the host cluster say who bears a token of the admin API; nil: none
// are taken.
func (d *daemon) tokens() (admin.Authenticator, error) {
	host, err := d.hostCluster()
	if host == nil || err != nil {
		return nil, err
	}
	if d.papers.files == nil {
		d.log.Info("the admin API asks for no bearer tokens, since without --identity they would cross the network in plaintext")
		return nil, nil //nolint:nilnil // none is fine
	}
	desk, err := bearer.New(host, d.tokenAudiences)
	if err != nil {
		return nil, err
	}
	return kubeTokens{desk}, nil
}

// kubeTokens are the tokens of a cluster.
type kubeTokens struct{ desk *bearer.Desk }

// Authenticate implements admin.Authenticator.
func (k kubeTokens) Authenticate(ctx context.Context, token string) (admin.Caller, error) {
	who, err := k.desk.Ask(ctx, token)
	switch {
	case errors.Is(err, bearer.ErrUnknown):
		return admin.Caller{}, admin.ErrUnknownToken
	case err != nil:
		return admin.Caller{}, err
	}
	c := admin.Caller{Name: who.Name, Write: who.Write}
	if !who.Read {
		c.Barred = "in Kubernetes it may not list clusters.meridian.dev; bind it to the ClusterRole meridian-viewer, or meridian-operator to give orders"
	}
	return c, nil
}
