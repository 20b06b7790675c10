package xds

import (
	"context"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// Why a node is sent nothing, as metrics call it.
const (
	refusedCertificate = "certificate" // none that says who it is
	refusedRole        = "role"        // it is no gateway
	refusedRegion      = "region"      // it asks for another region's view
	refusedName        = "name"        // it calls itself by another's name
	refusedView        = "view"        // there is no view for what it says of itself
)

// bearer is who a stream's connection belongs to. Zero, with plaintext: anybody.
func (s *Server) bearer(ctx context.Context) (trust.Identity, error) {
	if s.config.Creds == nil {
		return trust.Identity{}, nil
	}
	who, ok := trust.FromContext(ctx)
	switch {
	case !ok:
		return who, s.turnAway(refusedCertificate, codes.Unauthenticated, "no certificate says which gateway this is; give the Envoy an identity")
	case who.Role != trust.Gateway:
		return who, s.turnAway(refusedRole, codes.PermissionDenied, "configuration is sent to the role %s only, and this is %s", trust.Gateway, who)
	}
	return who, nil
}

// vouch checks that a node is the one that its connection's certificate names:
// whoever owns one gateway cannot ask for what another, or another region, is sent.
func (s *Server) vouch(who trust.Identity, node *corev3.Node) error {
	if s.config.Creds == nil {
		return nil
	}
	if region := fleet.Region(node.GetLocality().GetRegion()); region != who.Region {
		return s.turnAway(refusedRegion, codes.PermissionDenied,
			"the node says that it stands in region %.128q, and its certificate is %s; make node.locality.region the same, or give it a certificate for that region", string(region), who)
	}
	if !answersTo(node.GetId(), who.Name) {
		return s.turnAway(refusedName, codes.PermissionDenied,
			"the node calls itself %.253q, and its certificate is %s; make node.id the same or begin it with that name and a dot, or give it a certificate of its own", node.GetId(), who)
	}
	return nil
}

// answersTo reports whether a node may call itself so. Gateways that share a
// certificate, as the pods of a Deployment do, add a dot and a name of their own.
func answersTo(id, name string) bool {
	return id == name || strings.HasPrefix(id, name+".")
}

// sayAgain is how often a refusal for one reason is logged; all are counted.
const sayAgain = 10 * time.Second

// turnAway counts a refusal, logs it if none was lately, and returns it for the caller.
func (s *Server) turnAway(reason string, code codes.Code, format string, args ...any) error {
	err := status.Errorf(code, format, args...)
	s.metrics.turnedAway.WithLabelValues(reason).Inc()
	s.mu.Lock()
	quiet := time.Since(s.said[reason]) < sayAgain
	if !quiet {
		s.said[reason] = time.Now()
	}
	s.mu.Unlock()
	if !quiet {
		s.config.Log.Warn("a node is sent nothing; more of this is only counted for a while", "reason", reason, "error", status.Convert(err).Message())
	}
	return err
}
