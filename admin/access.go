package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// Token lets its bearer in.
type Token struct {
	Name   string // who bears it, for the record of orders
	Secret string // never empty, never logged
	Write  bool   // may give orders too
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

// admit checks who may call a method, and returns a context that knows the caller.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	if strings.HasPrefix(method, "/grpc.health.") {
		return ctx, nil // health checkers bear no secrets
	}
	name := certified(ctx)
	if len(s.c.Tokens) > 0 {
		t, ok := s.bearer(ctx)
		if !ok {
			return ctx, status.Error(codes.Unauthenticated, "a bearer token is needed in the metadata \"authorization\", and none that is known came")
		}
		if !t.Write && writes(method) {
			return ctx, status.Errorf(codes.PermissionDenied, "the token of %s may read only; use one that may give orders", t.Name)
		}
		if name == "" {
			name = t.Name
		}
	}
	if name == "" {
		return ctx, nil
	}
	return context.WithValue(ctx, callerKey{}, name), nil
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

// bearer finds the token that the caller bears. Every token is compared in full,
// so the time taken says nothing about any of them.
func (s *Server) bearer(ctx context.Context) (found Token, ok bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return Token{}, false
	}
	secret, isBearer := strings.CutPrefix(values[0], "Bearer ")
	if !isBearer || secret == "" {
		return Token{}, false
	}
	got := sha256.Sum256([]byte(secret))
	for _, t := range s.c.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && t.Secret != "" {
			found, ok = t, true
		}
	}
	return found, ok
}

// certified is the name in the client's verified certificate, if there is one.
func certified(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	leaf := info.State.VerifiedChains[0][0]
	if len(leaf.URIs) > 0 {
		return leaf.URIs[0].String()
	}
	return leaf.Subject.CommonName
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
