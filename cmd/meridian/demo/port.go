package demo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

func prefixes(p ...netip.Prefix) []netip.Prefix { return p }

// portsFree finds out before anything is started whether what people will use is
// free, so that the error names the port and not a process that died of it.
func portsFree(ctx context.Context) error {
	for _, r := range regions() {
		for _, addr := range []string{
			r.adminAddr(), r.dnsAddr(),
			netip.AddrPortFrom(r.public(), frontPort).String(),
			netip.AddrPortFrom(r.envoy(), frontPort).String(),
		} {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
			if err != nil {
				return fmt.Errorf("%s is not free: end what uses it (perhaps another demo; \"ss -ltnp\" names it) and try again: %w", addr, err)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
