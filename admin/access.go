package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/trust"
)

// Token lets its bearer in.
type Token struct {
	Name   string // who bears it, for the record of orders
	Secret string // never empty, never logged
	Write  bool   // may give orders too
}

// Caller is who bears a token.
type Caller struct {
	Name   string // for the record of orders, never empty
	Write  bool   // may give orders too
	Barred string // why it may not even look, as a sentence; empty: it may
}

// ErrUnknownToken is the error for a token that is surely nobody's.
var ErrUnknownToken = errors.New("nobody bears this token")

// Authenticator knows whose a token is.
type Authenticator interface {
	// Authenticate says who bears a token. An error that is ErrUnknownToken
	// is remembered for a while, as is an answer; any other means that it is not
	// known at present. It is called from many goroutines, with few calls at once.
	Authenticate(ctx context.Context, token string) (Caller, error)
}

// callerKey holds the name that a connection or token has proved.
type callerKey struct{}

// caller says who calls, as far as it is proved, and where from.
func caller(ctx context.Context) (name, from string) {
	name, _ = ctx.Value(callerKey{}).(string)
	if p, ok := peer.FromContext(ctx); ok {
		from = hostOf(p.Addr)
	}
	return name, from
}

// admit checks who may call a method, and returns a context that knows the
// caller. A certificate speaks first; a token may permit what it does not.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	if strings.HasPrefix(method, "/grpc.health.") {
		return ctx, nil // health checkers bear no secrets
	}
	if s.c.Creds == nil && !s.takesTokens() {
		return ctx, nil // whoever reaches the listener may do everything
	}
	identity, certified := trust.FromContext(ctx)
	if certified && permits(identity.Role, method) {
		return context.WithValue(ctx, callerKey{}, identity.String()), nil
	}
	who, err := s.bearer(ctx)
	switch {
	case err == nil && (who.Write || !writes(method)):
		return context.WithValue(ctx, callerKey{}, who.Name), nil
	case err == nil:
		return ctx, status.Errorf(codes.PermissionDenied, "the token of %s may read only; use one that may give orders", who.Name)
	case !errors.Is(err, errNoToken):
		return ctx, err
	case certified && writes(method):
		return ctx, status.Errorf(codes.PermissionDenied, "%s may give no orders; only the role %s may", identity, trust.Operator)
	case certified:
		return ctx, status.Errorf(codes.PermissionDenied, "%s has the role %s, which has no business here", identity, identity.Role)
	case s.c.Creds == nil:
		return ctx, status.Error(codes.Unauthenticated, `a bearer token is needed in the metadata "authorization"`)
	case !s.takesTokens():
		return ctx, status.Error(codes.Unauthenticated, "a certificate of an operator or viewer is needed, and none was shown")
	}
	return ctx, status.Error(codes.Unauthenticated, `a certificate of an operator or viewer is needed, or a bearer token in the metadata "authorization"; neither came`)
}

// permits says what the bearer of a certificate may do.
func permits(r trust.Role, method string) bool {
	switch r {
	case trust.Operator:
		return true
	case trust.Viewer, trust.Control:
		return !writes(method)
	}
	return false
}

// writes reports whether a method changes anything. A method that is not known
// here to be harmless does.
func writes(method string) bool {
	for _, read := range []string{"List", "Explain", "Watch"} {
		if strings.HasPrefix(method, "/"+adminv1.Admin_ServiceDesc.ServiceName+"/"+read) {
			return false
		}
	}
	return !strings.HasPrefix(method, "/grpc.reflection.")
}

func (s *Server) takesTokens() bool { return len(s.c.Tokens) > 0 || s.verdicts != nil }

// errNoToken: nothing that could be a token came.
var errNoToken = errors.New("no token came")

// maxToken is the length of the longest token that is looked at, in bytes.
const maxToken = 16 << 10

// bearer finds who bears the token that came. Errors but errNoToken are for the caller.
func (s *Server) bearer(ctx context.Context) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) == 0 || !s.takesTokens() {
		return Caller{}, errNoToken
	}
	unknown := status.Error(codes.Unauthenticated, `the bearer token in the metadata "authorization" is nobody's`)
	secret, isBearer := strings.CutPrefix(values[0], "Bearer ")
	if len(values) != 1 || !isBearer || secret == "" || len(secret) > maxToken {
		return Caller{}, unknown
	}
	if t, ok := s.listed(secret); ok {
		return Caller{Name: t.Name, Write: t.Write}, nil
	}
	if s.verdicts == nil {
		return Caller{}, unknown
	}
	who, err := s.verdicts.ask(ctx, secret)
	switch {
	case errors.Is(err, ErrUnknownToken):
		return Caller{}, unknown
	case err != nil:
		s.c.Log.Warn("it cannot be found out whose a token is", "error", err)
		return Caller{}, status.Error(codes.Unavailable, "it cannot be found out at present whose the token is; try again in a moment")
	case who.Barred != "":
		return Caller{}, status.Errorf(codes.PermissionDenied, "%s may do nothing here: %s", who.Name, who.Barred)
	}
	return who, nil
}

// listed finds a token of the configuration. Every one is compared in full, so
// the time taken says nothing about any of them.
func (s *Server) listed(secret string) (found Token, ok bool) {
	got := sha256.Sum256([]byte(secret))
	for _, t := range s.c.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && t.Secret != "" {
			found, ok = t, true
		}
	}
	return found, ok
}

func (s *Server) guardUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, err := s.admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if _, err := s.admit(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handle(srv, stream)
}
