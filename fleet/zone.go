package fleet

import (
	"net/netip"
	"strings"
	"time"
)

// Zone is one DNS zone that Meridian is authoritative for. Hosts of routes that
// lie inside it are answered from the Plan; everything else from Records.
type Zone struct {
	Name        string        // lower case, ends with "."
	Nameservers []Nameserver  // never empty
	Mailbox     string        // SOA RNAME as a domain name, ends with "."
	TTL         time.Duration // of NS, SOA and records that say none
	NegativeTTL time.Duration // SOA MINIMUM, how long a "no" is kept (RFC 2308)
	Records     []Record      // fixed records, sorted by name, type, data
	Origin      Origin
}

// Nameserver is a name server of a zone; Addrs are its glue when it lies inside the zone.
type Nameserver struct {
	Name  string // lower case, ends with "."
	Addrs []netip.Addr
}

// Record is one fixed resource record whose data has been checked.
type Record struct {
	Name string // lower case, absolute
	Type string // "TXT"
	TTL  time.Duration
	Data string // presentation form (RFC 1035 §5.1)
}

// Contains reports whether a lower-case absolute name lies in the zone.
func (z Zone) Contains(name string) bool {
	return name == z.Name || strings.HasSuffix(name, "."+z.Name) || z.Name == "."
}
