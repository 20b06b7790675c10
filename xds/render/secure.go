package render

import (
	"cmp"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/meridian-lb/meridian/fleet"
)

// served is one certificate with the hosts that are served with it.
type served struct {
	*fleet.Certificate
	hosts   []string // as Envoy is told them, sorted; never empty
	byName  []string // those of them that a client can name
	origins []fleet.Origin
}

// servedOver gathers the certificates that hosts use, sorted by name.
func servedOver(routes *fleet.Routes, certificates map[fleet.CertificateName]*fleet.Certificate) []*served {
	by := map[fleet.CertificateName]*served{}
	for _, h := range routes.Hosts {
		c, ok := certificates[h.Certificate]
		if !ok || h.Name != "" && (!hostPattern.MatchString(h.Name) || len(h.Name) > maxHost) {
			continue // the latter is the routes' to say
		}
		s := by[c.Name]
		if s == nil {
			s = &served{Certificate: c}
			by[c.Name] = s
		}
		s.hosts = append(s.hosts, h.Name)
		if h.Name != "" {
			s.byName = append(s.byName, h.Name)
		}
		for _, r := range h.Routes {
			if !slices.Contains(s.origins, r.Origin) {
				s.origins = append(s.origins, r.Origin)
			}
		}
	}
	return slices.SortedFunc(maps.Values(by), func(a, b *served) int { return cmp.Compare(a.Name, b.Name) })
}

// secretPrefix tells the certificates of hosts from the view's own identity.
const secretPrefix = "certificate/"

// secretName names the resource that carries a certificate.
func secretName(c fleet.CertificateName) string { return secretPrefix + string(c) }

// secret carries a chain and its key.
func secret(c *fleet.Certificate) *tlsv3.Secret {
	bytes := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	return &tlsv3.Secret{
		Name: secretName(c.Name),
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: bytes(c.Chain), PrivateKey: bytes(c.Key),
		}},
	}
}

// secure renders the listener for clients over TLS: the front again, with one
// filter chain for each certificate, told apart by the name that the client asks
// for (SNI, RFC 6066 §3). Who names no host, or one without a certificate, gets the
// certificate of the route for every host, or no connection.
func secure(v View, list []*served) *listenerv3.Listener {
	l := listener(SecureName, v.Bind, v.HTTPSPort, frontManager(SecureName))
	filters := l.FilterChains[0].Filters
	l.FilterChains = nil
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.TlsInspector{})},
	}}
	for _, s := range list {
		chain := func() *listenerv3.FilterChain {
			return &listenerv3.FilterChain{Name: string(s.Name), Filters: filters, TransportSocket: serverSocket(s.Name)}
		}
		if len(s.byName) > 0 {
			c := chain()
			c.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: s.byName}
			l.FilterChains = append(l.FilterChains, c)
		}
		if len(s.byName) < len(s.hosts) {
			l.DefaultFilterChain = chain()
			l.DefaultFilterChain.Name = "default"
		}
	}
	return l
}

// serverSocket speaks TLS 1.2 or newer with Envoy's own choice of ciphers.
func serverSocket(c fleet.CertificateName) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
				AlpnProtocols:                  []string{"h2", "http/1.1"},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: secretName(c), SdsConfig: ads()}},
			},
		})},
	}
}
