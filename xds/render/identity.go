package render

import (
	"path"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
	"github.com/meridian-lb/meridian/xds/resource"
)

// Names of secrets that a view with an identity has. They hold names of files on
// the Envoy's machine: no key crosses the wire, and Envoy reads the files again
// when they are replaced.
const (
	IdentityName  = "identity"  // the Envoy's certificate and key
	AuthorityName = "authority" // whom it believes about others
)

// relayConnection is how long one connection to a relay is used, so that both
// ends show certificates that are in force.
const relayConnection = time.Hour

// identity renders the secrets of a view that has one.
func (c *change) identity() error {
	dir := c.r.view.Identity
	if dir == "" {
		return nil
	}
	for _, s := range []*tlsv3.Secret{
		{Name: IdentityName, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: file(dir, trust.CertificateFile), PrivateKey: file(dir, trust.KeyFile),
			WatchedDirectory: &corev3.WatchedDirectory{Path: dir},
		}}},
		{Name: AuthorityName, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:        file(dir, trust.BundleFile),
			WatchedDirectory: &corev3.WatchedDirectory{Path: dir},
		}}},
	} {
		res, err := resource.New(s.Name, s)
		if err != nil {
			return err
		}
		res.Local = true
		c.offer(res)
	}
	return nil
}

func file(dir, name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path.Join(dir, name)}}
}

// relayServer lets in gateways of any region, and nobody else.
func relayServer(v View) *corev3.TransportSocket {
	c := common(trust.Prefix(v.Domain, trust.Gateway, ""), "h2", "http/1.1")
	return tlsSocket(&tlsv3.DownstreamTlsContext{
		CommonTlsContext:         c,
		RequireClientCertificate: wrapperspb.Bool(true),
		// A session that is resumed would not be judged anew.
		DisableStatefulSessionResumption: true,
		SessionTicketKeysType:            &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true},
	})
}

// socketMatches is where relays are told from pods. Pods are spoken to in the
// clear. A relay has to prove that it is a gateway of the region that was chosen, so
// that whoever owns one region's gateway cannot be taken for another region. A
// relay of a region that the cluster does not know is believed by no certificate.
func socketMatches(v View, regions []fleet.Region, protocol string) []*clusterv3.Cluster_TransportSocketMatch {
	clear := &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawbufferv3.RawBuffer{})},
	}
	var list []*clusterv3.Cluster_TransportSocketMatch
	if v.Identity == "" {
		list = append(list, &clusterv3.Cluster_TransportSocketMatch{Name: "relay", Match: relayIn(""), TransportSocket: clear})
	} else {
		alpn := "http/1.1"
		if protocol == http2 {
			alpn = "h2"
		}
		for _, r := range regions {
			if !word(string(r)) { // no certificate can name it
				continue
			}
			list = append(list, &clusterv3.Cluster_TransportSocketMatch{
				Name: "relay " + string(r), Match: relayIn(r), TransportSocket: relayClient(trust.Prefix(v.Domain, trust.Gateway, r), alpn),
			})
		}
		list = append(list, &clusterv3.Cluster_TransportSocketMatch{
			Name: "relay", Match: relayIn(""), TransportSocket: relayClient("nobody:", alpn),
		})
	}
	return append(list, &clusterv3.Cluster_TransportSocketMatch{Name: "direct", Match: &structpb.Struct{}, TransportSocket: clear})
}

func relayClient(prefix, alpn string) *corev3.TransportSocket {
	return tlsSocket(&tlsv3.UpstreamTlsContext{
		CommonTlsContext: common(prefix, alpn),
		MaxSessionKeys:   wrapperspb.UInt32(0), // no session is resumed
	})
}

// common is TLS 1.3 with the Envoy's identity, and with one whose identity begins
// with prefix at the other end.
func common(prefix string, alpn ...string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  alpn,
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: IdentityName, SdsConfig: ads()}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_URI,
				Matcher: &envoymatcherv3.StringMatcher{MatchPattern: &envoymatcherv3.StringMatcher_Prefix{Prefix: prefix}},
			}}},
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: AuthorityName, SdsConfig: ads()},
		}},
	}
}

func tlsSocket(m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(m)},
	}
}
