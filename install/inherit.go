package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// inherit takes over from the Cluster that is there what the order does not say: a
// member that joins again, for new credentials mostly, stays what it was.
func (j *Joining) inherit(ctx context.Context, member, host *Reach) error {
	if err := j.inheritServer(ctx, member, host); err != nil {
		return err
	}
	o := j.object()
	client, err := host.resource(ctx, o)
	if err != nil {
		return err
	}
	there, err := client.Get(ctx, j.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return host.explain("reading "+name(o), err)
	}
	raw, err := there.MarshalJSON()
	if err != nil {
		return err
	}
	var c v1alpha1.Cluster
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("the %s that is there cannot be read; mend or delete it: %w", name(o), err)
	}
	known, _ := c.Parse(fleet.Origin{})
	if known == nil {
		return nil // nothing good can be taken from it; it is written anew
	}
	j.Region, j.Zone = cmp.Or(j.Region, known.At.Region), cmp.Or(j.Zone, known.At.Zone)
	if !j.Place.Known() && j.Region == known.At.Region {
		j.Place = known.At.Place
	}
	j.Network = cmp.Or(j.Network, c.Spec.Network)
	if len(j.Gateways) == 0 {
		j.Gateways = c.Spec.Gateways
	}
	if len(j.Endpoints) == 0 && !j.AnyEndpoint {
		j.Endpoints, j.AnyEndpoint = known.EndpointNetworks, len(known.EndpointNetworks) == 0
	}
	return nil
}

// annotationServer keeps the address of a member's API server that was given for the
// host, since contexts lead there by another.
const annotationServer = "meridian.dev/api-server"

// inheritServer takes over the address that was given before. Older versions did not
// write down that one was given; where the context's leads the host astray, it was.
func (j *Joining) inheritServer(ctx context.Context, member, host *Reach) error {
	found, err := host.existing(ctx, j.Namespace, secretName(j.Name))
	s := found[secretName(j.Name)]
	if err != nil || s == nil || j.Server != "" {
		return err
	}
	j.Server = s.Annotations[annotationServer]
	if known, err := bearer(s.Data[kubeconfigKey]); j.Server == "" && err == nil && onThisMachine(member.Config.Host) && !onThisMachine(known.Host) {
		j.Server = known.Host
	}
	return j.check()
}
