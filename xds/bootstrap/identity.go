package bootstrap

import (
	"fmt"
	"path"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/trust"
)

// The names of secrets, and with ".yaml" of the files that hold them. Each needs a
// file of its own: Envoy takes one secret from a file.
const (
	identitySecret  = "identity"
	authoritySecret = "authority"
)

func (c Config) checkIdentity() error {
	if c.Identity == "" {
		return nil
	}
	who := trust.Identity{Domain: c.Domain, Role: trust.Gateway, Region: c.Region, Name: c.ID}
	if err := who.Check(); err != nil {
		return fmt.Errorf("no certificate can name this Envoy: %w", err)
	}
	for _, dir := range []string{c.Identity, c.Secrets} {
		if !path.IsAbs(dir) || path.Clean(dir) != dir {
			return fmt.Errorf("the directory %q is not a clean absolute path", dir)
		}
	}
	return nil
}

// Secrets renders the files, by name, that an Envoy with an identity needs in
// Config.Secrets. They hold no secret: they say where the identity's files are, and
// have Envoy read those again whenever they are replaced, which it would not do
// if the bootstrap named them. Without an identity there are none.
func Secrets(c Config) (map[string][]byte, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("making an Envoy's secrets: %w", err)
	}
	if c.Identity == "" {
		return nil, nil
	}
	file := func(name string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path.Join(c.Identity, name)}}
	}
	watched := &corev3.WatchedDirectory{Path: c.Identity}
	files := map[string][]byte{}
	for _, s := range []*tlsv3.Secret{
		{Name: identitySecret, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: file(trust.CertificateFile), PrivateKey: file(trust.KeyFile), WatchedDirectory: watched,
		}}},
		{Name: authoritySecret, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: file(trust.BundleFile), WatchedDirectory: watched,
		}}},
	} {
		m := &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{pack(s)}}
		if err := s.ValidateAll(); err != nil {
			return nil, fmt.Errorf("making an Envoy's secrets: %w", err)
		}
		if files[s.Name+".yaml"], err = toYAML(m); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// toControlPlane speaks TLS 1.3 to whoever proves to be a meridiand of the domain.
func toControlPlane(c Config) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{
			MaxSessionKeys: wrapperspb.UInt32(0), // a session that is resumed would not be judged anew
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams: &tlsv3.TlsParameters{
					TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
				},
				AlpnProtocols:                  []string{"h2"},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{fromFile(c, identitySecret)},
				ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
						SanType: tlsv3.SubjectAltNameMatcher_URI,
						Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: trust.Prefix(c.Domain, trust.Control, "")}},
					}}},
					ValidationContextSdsSecretConfig: fromFile(c, authoritySecret),
				}},
			},
		})},
	}
}

func fromFile(c Config, name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{
			Path: path.Join(c.Secrets, name+".yaml"),
		}},
	}}
}

// toYAML writes a message the way Envoy reads it.
func toYAML(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("writing a file of Envoy as JSON: %w", err)
	}
	out, err := yaml.JSONToYAML(raw)
	if err != nil {
		return nil, fmt.Errorf("writing a file of Envoy as YAML: %w", err)
	}
	return out, nil
}
