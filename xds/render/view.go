package render

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// View is what Envoys that are told the same have in common. It is comparable.
type View struct {
	Region    fleet.Region  // where the Envoys stand, never empty
	Network   fleet.Network // whose endpoints they reach directly; empty when it has no name
	Class     string        // gateway class, never empty
	Bind      netip.Addr    // the address their listeners bind, always valid
	HTTPPort  uint16        // of the front listener, never 0
	RelayPort uint16        // of the relay listener, never 0 and not HTTPPort

	// Where the Envoys keep their identity: a directory on their own machines with
	// tls.crt, tls.key and ca.crt, as a clean absolute path of few letters. Relays
	// then speak mutual TLS. Empty: they speak plaintext.
	Identity string
	// The trust domain of that identity; empty when there is none, and only then.
	Domain string
}

// What a node that does not say otherwise is given.
const (
	DefaultClass     = "meridian"
	DefaultHTTPPort  = 8080
	DefaultRelayPort = 15443
)

var defaultBind = netip.IPv4Unspecified()

// The fields of a node's metadata that a View is made of. A node's region is its
// locality's.
const (
	metadataNetwork   = "network"
	metadataClass     = "class"
	metadataBind      = "bind"
	metadataHTTPPort  = "http_port"
	metadataRelayPort = "relay_port"
	metadataIdentity  = "identity"
)

const (
	maxWord     = 128 // bytes in a region, network or class
	maxIdentity = 256 // bytes in the path of an identity
)

// ViewOf reads the view of a node from its locality and metadata. What it
// returns is safe to use in names and keys whatever the node has said.
//
// Domain is the trust domain of the control plane, and empty when it speaks
// plaintext; its Envoys have to do as it does.
func ViewOf(n *corev3.Node, domain string) (View, error) {
	fields := n.GetMetadata().GetFields()
	v := View{Region: fleet.Region(n.GetLocality().GetRegion())}
	network, err := text(fields, metadataNetwork, "")
	if err != nil {
		return View{}, err
	}
	v.Network = fleet.Network(network)
	if v.Class, err = text(fields, metadataClass, DefaultClass); err != nil {
		return View{}, err
	}
	bind, err := text(fields, metadataBind, defaultBind.String())
	if err != nil {
		return View{}, err
	}
	if v.Bind, err = parseBind(bind); err != nil {
		return View{}, err
	}
	if v.HTTPPort, err = port(fields, metadataHTTPPort, DefaultHTTPPort); err != nil {
		return View{}, err
	}
	if v.RelayPort, err = port(fields, metadataRelayPort, DefaultRelayPort); err != nil {
		return View{}, err
	}
	if v.Identity, err = text(fields, metadataIdentity, ""); err != nil {
		return View{}, err
	}
	switch {
	case domain != "" && v.Identity == "":
		return View{}, errors.New("relays speak mutual TLS here and the node names no directory of an identity; set node.metadata.identity in the Envoy's bootstrap")
	case domain == "" && v.Identity != "":
		return View{}, errors.New("the node has an identity and this control plane has none, so relays would not understand each other; start every meridiand with --identity")
	}
	v.Domain = domain
	return v, v.check()
}

func text(fields map[string]*structpb.Value, name, otherwise string) (string, error) {
	f, ok := fields[name]
	if !ok {
		return otherwise, nil
	}
	s, ok := f.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return "", fmt.Errorf("node metadata %q is not a string; correct the Envoy's bootstrap", name)
	}
	if s.StringValue == "" {
		return otherwise, nil
	}
	return s.StringValue, nil
}

func port(fields map[string]*structpb.Value, name string, otherwise uint16) (uint16, error) {
	f, ok := fields[name]
	if !ok {
		return otherwise, nil
	}
	n, ok := f.GetKind().(*structpb.Value_NumberValue)
	if !ok || n.NumberValue < 1 || n.NumberValue > math.MaxUint16 || n.NumberValue != math.Trunc(n.NumberValue) {
		return 0, fmt.Errorf("node metadata %q is not a port number from 1 to 65535; correct the Envoy's bootstrap", name)
	}
	return uint16(n.NumberValue), nil
}

func parseBind(s string) (netip.Addr, error) {
	if len(s) > maxWord {
		return netip.Addr{}, errors.New("the address to bind is too long")
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("the address to bind, %q, is not a plain IPv4 or IPv6 address", s)
	}
	return a, nil
}

func (v View) check() error {
	switch {
	case v.Region == "":
		return errors.New("the node names no region; set node.locality.region in the Envoy's bootstrap")
	case !word(string(v.Region)):
		return fmt.Errorf("region %.40q is not a name of letters, digits, '-', '_' and '.' (at most %d)", string(v.Region), maxWord)
	case v.Network != "" && !word(string(v.Network)):
		return fmt.Errorf("network %.40q is not a name of letters, digits, '-', '_' and '.' (at most %d)", string(v.Network), maxWord)
	case !word(v.Class):
		return fmt.Errorf("class %.40q is not a name of letters, digits, '-', '_' and '.' (at most %d)", v.Class, maxWord)
	case v.Identity != "" && !cleanPath(v.Identity):
		return fmt.Errorf("identity %.80q is not a clean absolute path of letters, digits, '-', '_', '.' and '/' (at most %d)", v.Identity, maxIdentity)
	case v.Identity != "" && trust.CheckDomain(v.Domain) != nil:
		return trust.CheckDomain(v.Domain)
	case v.Identity == "" && v.Domain != "":
		return fmt.Errorf("there is a trust domain %.40q and no identity of it", v.Domain)
	case v.HTTPPort == v.RelayPort:
		return fmt.Errorf("http_port and relay_port are both %d; give each its own", v.HTTPPort)
	}
	return nil
}

// word reports whether s is a name that needs no quoting anywhere.
func word(s string) bool {
	if s == "" || len(s) > maxWord {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// cleanPath reports whether s is an absolute path that needs no quoting anywhere
// and that can be written in no other way.
func cleanPath(s string) bool {
	if len(s) > maxIdentity || !strings.HasPrefix(s, "/") || path.Clean(s) != s {
		return false
	}
	for part := range strings.SplitSeq(s[1:], "/") {
		if !word(part) {
			return false
		}
	}
	return true
}

// Key is the view as one string, the same in every process. The path of the
// identity is its end, since it is the only part that holds slashes.
func (v View) Key() string {
	key := strings.Join([]string{
		string(v.Region), string(v.Network), v.Class, v.Bind.String(),
		strconv.Itoa(int(v.HTTPPort)), strconv.Itoa(int(v.RelayPort)),
	}, "/")
	if v.Identity != "" {
		key += "/" + v.Domain + v.Identity
	}
	return key
}

// ParseKey is the inverse of Key. A view that it returns is as sound as one of ViewOf.
func ParseKey(key string) (View, error) {
	parts := strings.SplitN(key, "/", 8)
	if len(parts) != 6 && len(parts) != 8 {
		return View{}, fmt.Errorf("view %.60q is not region/network/class/bind/http-port/relay-port, nor that with /domain/path", key)
	}
	v := View{Region: fleet.Region(parts[0]), Network: fleet.Network(parts[1]), Class: parts[2]}
	if len(parts) == 8 {
		v.Domain, v.Identity = parts[6], "/"+parts[7]
	}
	var err error
	if v.Bind, err = parseBind(parts[3]); err != nil {
		return View{}, fmt.Errorf("view %.60q: %w", key, err)
	}
	for i, p := range []*uint16{&v.HTTPPort, &v.RelayPort} {
		n, err := strconv.ParseUint(parts[4+i], 10, 16)
		if err != nil || n == 0 {
			return View{}, fmt.Errorf("view %.60q: %.10q is not a port number from 1 to 65535", key, parts[4+i])
		}
		*p = uint16(n)
	}
	if err := v.check(); err != nil {
		return View{}, fmt.Errorf("view %.60q: %w", key, err)
	}
	if v.Key() != key {
		return View{}, fmt.Errorf("view %.60q is not in its canonical form %q", key, v.Key())
	}
	return v, nil
}
