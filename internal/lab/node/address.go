package node

import (
	"fmt"
	"net/netip"
	"sync"
)

// addresses gives out the addresses of a prefix, each to one pod at a time. It
// goes round, so that an address that was given back rests for a while: whoever
// still remembers it does not reach somebody else.
type addresses struct {
	prefix netip.Prefix

	mu    sync.Mutex
	taken map[netip.Addr]bool
	last  netip.Addr
}

func newAddresses(prefix netip.Prefix) (*addresses, error) {
	prefix = prefix.Masked()
	if !prefix.IsValid() || prefix.Addr().BitLen()-prefix.Bits() < 2 {
		return nil, fmt.Errorf("%s gives no addresses to pods: name a prefix such as 10.244.1.0/24", prefix)
	}
	return &addresses{prefix: prefix, taken: map[netip.Addr]bool{}, last: prefix.Addr()}, nil
}

// take returns the wanted address if it is free, else the next one that is.
func (a *addresses) take(wanted netip.Addr) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.usable(wanted) {
		a.taken[wanted] = true
		return wanted, nil
	}
	for at := a.last; ; {
		if at = at.Next(); !a.prefix.Contains(at) {
			at = a.prefix.Addr()
		}
		if a.usable(at) {
			a.taken[at], a.last = true, at
			return at, nil
		}
		if at == a.last {
			return netip.Addr{}, fmt.Errorf("all addresses of %s are taken: give the node a wider prefix", a.prefix)
		}
	}
}

// usable leaves out the first address and, in IPv4, the last, as networks do.
func (a *addresses) usable(at netip.Addr) bool {
	return at.IsValid() && a.prefix.Contains(at) && at != a.prefix.Addr() && (at.Is6() || a.prefix.Contains(at.Next())) && !a.taken[at]
}

func (a *addresses) give(at netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.taken, at)
}
