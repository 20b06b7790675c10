package admin

import (
	"context"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// recovered turns a panic into an error that says nothing about our inside; the
// log says it all.
func (s *Server) recovered(method string, err *error) {
	if fault := recover(); fault != nil {
		s.metrics.panics.Inc()
		s.c.Log.Error("a call failed", "method", method, "fault", fault, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "the call failed by a fault of this daemon; its cause is in the daemon's log")
	}
}

func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (_ any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(ctx, req)
}

func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return handle(srv, stream)
}

// boundUnary gives every call an end.
func (s *Server) boundUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, unaryDeadline)
	defer cancel()
	return handle(ctx, req)
}

func (s *Server) countUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	began := time.Now()
	answer, err := handle(ctx, req)
	s.metrics.seconds.WithLabelValues(info.FullMethod).Observe(time.Since(began).Seconds())
	s.metrics.calls.WithLabelValues(info.FullMethod, status.Code(err).String()).Inc()
	return answer, err
}

func (s *Server) countStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	err := handle(srv, stream)
	s.metrics.calls.WithLabelValues(info.FullMethod, status.Code(err).String()).Inc()
	return err
}
