// Package resource is one Envoy resource, encoded once with a version made of its bytes.
package resource

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meridian-lb/meridian/fleet"
)

// The type URLs of the resources that Meridian speaks.
const (
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// Name names a resource within a view.
type Name struct{ TypeURL, Name string }

// Compare orders names by type, then name.
func (n Name) Compare(m Name) int {
	return cmp.Or(cmp.Compare(n.TypeURL, m.TypeURL), cmp.Compare(n.Name, m.Name))
}

// Resource is one encoded Envoy resource. It is immutable and shared between
// all who are sent it.
type Resource struct {
	TypeURL string
	Name    string
	Version string     // of the bytes alone: equal on all replicas and across restarts
	Body    *anypb.Any // never nil; its type is TypeURL

	// Origins are the objects that the resource was made from, so that Envoy's
	// refusal is reported to their authors. They are not part of the version.
	Origins []fleet.Origin

	// Local resources name files on the Envoy's own machine. That one Envoy refuses
	// it says something about that machine and nothing about the resource.
	Local bool
}

// Key is the resource's name with its type.
func (r Resource) Key() Name { return Name{TypeURL: r.TypeURL, Name: r.Name} }

// Delta is a change of a view: what is to be there from now on, and what no
// longer. A name is never in both.
type Delta struct {
	Put  []Resource
	Gone []Name
}

// Empty reports whether nothing changes.
func (d Delta) Empty() bool { return len(d.Put) == 0 && len(d.Gone) == 0 }

// New encodes a message deterministically.
func New(name string, m proto.Message, origins ...fleet.Origin) (Resource, error) {
	if m == nil {
		return Resource{}, errors.New("encoding resource " + name + ": no message was given")
	}
	typeURL := "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return Resource{}, fmt.Errorf("encoding %s %q: %w", typeURL, name, err)
	}
	return FromBytes(typeURL, name, value, origins...), nil
}

// FromBytes makes a resource of a message that is already encoded. The caller
// gives the bytes away.
func FromBytes(typeURL, name string, value []byte, origins ...fleet.Origin) Resource {
	return Resource{
		TypeURL: typeURL,
		Name:    name,
		Version: Version(value),
		Body:    &anypb.Any{TypeUrl: typeURL, Value: value},
		Origins: origins,
	}
}

// Version is the version of a resource with these bytes: the first 64 bits of
// their SHA-256, in hex.
func Version(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:8])
}
