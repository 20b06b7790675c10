package probe

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// askGRPC wants SERVING from the standard health service (grpc.health.v1), in
// clear text HTTP/2. The check's path names the service, empty for the server
// as a whole.
func askGRPC(ctx context.Context, conn net.Conn, t Target) *failure {
	var used atomic.Bool
	client, err := grpc.NewClient("passthrough:///"+t.Addr.String(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if used.Swap(true) {
				return nil, errors.New("a probe has one connection")
			}
			return conn, nil
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(host(t)), grpc.WithUserAgent("meridian-probe"),
		grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(),
		grpc.WithMaxHeaderListSize(maxHeader), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)),
	)
	if err != nil {
		return fail(outcomeAnswer, "the gRPC check cannot be made: %v", err)
	}
	defer client.Close()
	resp, err := healthv1.NewHealthClient(client).Check(ctx, &healthv1.HealthCheckRequest{Service: t.Check.Path})
	switch code := status.Code(err); {
	case code == codes.OK && resp.GetStatus() == healthv1.HealthCheckResponse_SERVING:
		return nil
	case code == codes.OK:
		return fail(outcomeAnswer, "gRPC health is %v", resp.GetStatus())
	case expired(ctx):
		return fail(outcomeTimeout, "no complete answer within %v", t.Check.Timeout)
	default:
		return fail(outcomeAnswer, "gRPC status %v", code)
	}
}

// expired reports whether the time of ctx is over. The connection has the same
// deadline and may notice first.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}
