package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meridian-lb/meridian/trust"
)

// access is how a caller proves who it is, and finds out whom it calls.
type access struct {
	identity  string // directory
	ca        string // file
	token     string
	tokenFile string
}

// options are what makes a connection so.
func (a access) options(server string) ([]grpc.DialOption, error) {
	papers, err := a.papers()
	if err != nil {
		return nil, err
	}
	token, err := a.bearer()
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if papers != nil {
		creds = trust.Credentials(trust.ClientTLS(papers, trust.Only(trust.Control)), nil)
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(creds)}
	if token == "" {
		return opts, nil
	}
	if papers == nil && !onThisMachine(server) {
		return nil, errors.New("a token would cross the network in plaintext: name the authority of the installation with --ca")
	}
	return append(opts, grpc.WithPerRPCCredentials(bearer(token))), nil
}

// papers are nil for plaintext.
func (a access) papers() (*trust.Papers, error) {
	switch {
	case a.identity != "":
		p, err := trust.ReadPapers(a.identity)
		if err != nil {
			return nil, fmt.Errorf("--identity: %w", err)
		}
		return p, nil
	case a.ca != "":
		b, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		p, err := trust.ParseBundle(b)
		if err != nil {
			return nil, fmt.Errorf("--ca %s: %w", a.ca, err)
		}
		return p, nil
	}
	return nil, nil
}

func (a access) bearer() (string, error) {
	token := cmp.Or(a.token, os.Getenv("MERIDIAN_TOKEN"))
	if a.tokenFile != "" {
		b, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		token = string(b)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("the token holds blanks or other letters that no token has; give it as it was issued")
	}
	return token, nil
}

// onThisMachine reports whether an address surely does not leave it.
func onThisMachine(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// bearer is a token on its way with every call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials; access.options
// has seen to it.
func (bearer) RequireTransportSecurity() bool { return false }
