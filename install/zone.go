package install

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/trust"
)

// apiWithin is how long a dedicated API may take until it answers and knows Meridian's
// kinds: its images have to come, and its volume.
const apiWithin = 5 * time.Minute

// zone is the DNS zone to begin with, as an object.
func (s *Settings) zone() []*unstructured.Unstructured {
	if s.Zone == nil {
		return nil
	}
	return []*unstructured.Unstructured{object(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindZone), s.Zone)}
}

// WriteZone writes a DNS zone into the dedicated API that runs in a cluster, as soon as
// that knows Zones. Server is its URL; empty: the address of its Service.
func WriteZone(ctx context.Context, reach *Reach, namespace, server string, zone *v1alpha1.Zone, p Progress) error {
	api, err := reach.dedicatedAPI(ctx, cmp.Or(namespace, Namespace), server, p)
	if err != nil {
		return err
	}
	if err := api.knowsZones(ctx, p); err != nil {
		return err
	}
	settings := Settings{Zone: zone}
	p.Say("%s:", api.Name)
	did, err := api.Apply(ctx, settings.zone(), p)
	if err != nil {
		return err
	}
	p.Say("  %s", did)
	return nil
}

// knowsZones waits until a dedicated API serves Zones.
func (r *Reach) knowsZones(ctx context.Context, p Progress) error {
	defer p.during("waiting until the dedicated API answers")()
	within, cancel := context.WithTimeout(ctx, apiWithin)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_, err := r.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("zones")).List(within, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return r.explain("listing Zones", err)
		}
		select {
		case <-within.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("the dedicated API did not answer in %v, so the Zone is not written, and everything else is; see \"kubectl get pods -n %s\" in the cluster that it runs in, and run this again: %w", apiWithin, Namespace, err)
		case <-tick.C:
		}
	}
}

// dedicatedAPI is the way of an administrator to the dedicated API that runs in a cluster.
func (r *Reach) dedicatedAPI(ctx context.Context, namespace, server string, p Progress) (*Reach, error) {
	s, err := r.apiAdmin(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if server == "" {
		if server, err = r.apiAddress(ctx, namespace, p); err != nil {
			return nil, err
		}
	}
	if err := CheckAPIServer(server); err != nil {
		return nil, err
	}
	return NewReach(contextName, &rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{
		ServerName: apiServerName(namespace), CAData: s.Data[trust.BundleFile], CertData: s.Data[trust.CertificateFile], KeyData: s.Data[trust.KeyFile],
	}})
}

// apiAdmin is the Secret by which whoever installs is an administrator of the dedicated API.
func (r *Reach) apiAdmin(ctx context.Context, namespace string) (*corev1.Secret, error) {
	found, err := r.existing(ctx, namespace, SecretAPIAdmin)
	if err != nil {
		return nil, err
	}
	if s := found[SecretAPIAdmin]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("%s has no Secret %s/%s, so no dedicated API runs there; run \"meridian init --dedicated-api --context %s\"", r.Name, namespace, SecretAPIAdmin, r.Name)
}
