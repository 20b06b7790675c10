// Command meridian shows, explains and steers a Meridian installation.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := exitCode(newRoot().ExecuteContext(ctx))
	if err != nil {
		fmt.Fprintln(os.Stderr, "meridian:", sentence(err))
	}
	return code
}

// exit is the end of a command whose exit code means something. Without an error
// there is nothing to say beside it.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// exitCode is that of a command, and what is to be said of it.
func exitCode(err error) (int, error) {
	var e exit
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &e):
		return e.code, e.err
	}
	return 1, err
}

// sentence turns an error into one sentence with its remedy.
func sentence(err error) string {
	var u unreachable
	if !errors.As(err, &u) {
		return err.Error()
	}
	s := status.Convert(u.err)
	switch s.Code() {
	case codes.Unavailable, codes.Unknown, codes.DeadlineExceeded:
		// gRPC has no code of its own for this.
		for _, sign := range []string{"authentication handshake failed", "remote error: tls", "server preface", "client preface"} {
			if strings.Contains(s.Message(), sign) {
				return fmt.Sprintf("%s and this caller do not trust each other: give the --identity of an operator or viewer, or --ca with a token, of the installation that it belongs to (%s)", u.server, s.Message())
			}
		}
	}
	switch s.Code() {
	case codes.Unavailable, codes.Unimplemented, codes.Unknown:
		return fmt.Sprintf("no admin API of a meridiand answers at %s: start one, or name its --admin address as host:port with --server or MERIDIAN_SERVER (%s)", u.server, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Sprintf("%s did not answer in time; see whether it is well, or wait longer with --timeout (%s)", u.server, s.Message())
	}
	return s.Message()
}
