package peer

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridian-lb/meridian/trust"
)

// follows says whether the other end of an RPC may follow our facts under the
// name that it gives itself.
func follows(ctx context.Context, instance string) error {
	who, ok := trust.FromContext(ctx)
	switch {
	case !ok:
		return status.Error(codes.Unauthenticated, "facts are told to other daemons only, and no certificate says who this is; start it with --identity")
	case who.Role != trust.Control:
		return status.Errorf(codes.PermissionDenied, "facts are told to the role %s only, and this is %s", trust.Control, who)
	case who.Name != instance:
		return status.Errorf(codes.PermissionDenied, "it calls itself %.253q, and its certificate says %s; start it with the --instance that its certificate names", instance, who)
	}
	return nil
}

// speaks says whether the other end of a stream may speak in the name of an
// instance.
func speaks(ctx context.Context, instance string) error {
	who, ok := trust.FromContext(ctx)
	switch {
	case !ok:
		return errors.New("no certificate says who it is")
	case who.Role != trust.Control:
		return fmt.Errorf("it is %s, and facts are taken from the role %s only", who, trust.Control)
	case who.Name != instance:
		return fmt.Errorf("it calls itself %.253q, and its certificate says %s; give it a certificate for its own instance name", instance, who)
	}
	return nil
}

// ownNameError is the reason for not following who bears our own name. Nothing
// that it says is taken, whether it is us or not.
type ownNameError struct {
	name   string
	proved bool // by a certificate for that name, which nobody else has
}

// Error implements error.
func (e *ownNameError) Error() string {
	if e.proved {
		return fmt.Sprintf("it is this daemon itself, %s", e.name)
	}
	return fmt.Sprintf("it calls itself %q, which is our own name: it is this daemon itself, or another that needs an instance name of its own", e.name)
}
