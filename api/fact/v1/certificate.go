package factv1

import (
	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

func certificateOut(c *fleet.Certificate) *Certificate {
	return &Certificate{Name: valid(string(c.Name)), Chain: c.Chain, Key: c.Key, Origin: originOut(c.Origin)}
}

// certificate reads a chain with its key. Nothing is believed of it that the chain
// does not say itself.
func (d *door) certificate(x *Certificate) *fleet.Certificate {
	c := &fleet.Certificate{
		Name:   fleet.CertificateName(d.label("certificate", x.GetName())),
		Chain:  x.GetChain(),
		Key:    x.GetKey(),
		Origin: d.origin(x.GetOrigin()),
	}
	leaf, err := field.KeyPair(c.Chain, c.Key)
	if err != nil {
		d.refuse("certificate %.100q: %w", c.Name, err)
	}
	c.Hosts, c.NotAfter = leaf.Hosts, leaf.NotAfter
	return c
}
