package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// Settings say what one installation is to be.
type Settings struct {
	Namespace   string         // empty means meridian-system
	Region      fleet.Region   // required
	Network     string         // of this cluster's endpoints; empty: none of a name
	TrustDomain string         // empty means meridian.internal
	Replicas    int            // of the daemon; 0 means 2
	Values      map[string]any // of the chart, beside what is said here; they win

	// Authority is one of another installation, whose identities this one shall
	// share; zero: its own. Bundle is not looked at.
	Authority           trust.PEM
	CertificateLifetime time.Duration // 0 means 90 days

	Zone *v1alpha1.Zone // DNS zone to begin with; nil: none
}

// DefaultTrustDomain is that of an installation that names none.
const DefaultTrustDomain = "meridian.internal"

func (s Settings) complete() (Settings, error) {
	s.Namespace = cmp.Or(s.Namespace, Namespace)
	s.TrustDomain = cmp.Or(s.TrustDomain, DefaultTrustDomain)
	s.Replicas = cmp.Or(s.Replicas, 2)
	switch {
	case s.Region == "":
		return s, errors.New("no region is given; name the one that this cluster stands in with --region")
	case field.Label(string(s.Region)) != nil:
		return s, fmt.Errorf("--region: %w", field.Label(string(s.Region)))
	case s.Network != "" && field.Label(s.Network) != nil:
		return s, fmt.Errorf("--network: %w", field.Label(s.Network))
	case trust.CheckDomain(s.TrustDomain) != nil:
		return s, fmt.Errorf("--trust-domain: %w", trust.CheckDomain(s.TrustDomain))
	case s.Replicas < 1 || s.Replicas > 16:
		return s, fmt.Errorf("--replicas %d: 1 to 16 daemons stand in a region", s.Replicas)
	}
	return s, nil
}

// prefix begins the names of the daemons.
func (s Settings) prefix() string {
	if own, _, _ := unstructured.NestedString(s.Values, "meridiand", "instancePrefix"); own != "" {
		return own
	}
	return string(s.Region)
}

func (s Settings) identity(role trust.Role, region fleet.Region, name string) trust.Identity {
	return trust.Identity{Domain: s.TrustDomain, Role: role, Region: region, Name: name}
}

// values are those of the chart.
func (s Settings) values() map[string]any {
	v := map[string]any{
		"region": string(s.Region), "network": s.Network, "trustDomain": s.TrustDomain, "createNamespace": true,
		"meridiand": map[string]any{"replicas": int64(s.Replicas), "identitySecret": SecretControl},
		"gateway":   map[string]any{"identitySecret": SecretGateway, "identityName": gatewayName},
	}
	Merge(v, s.Values)
	return v
}

// Merge lays values of the chart over others, map by map.
func Merge(under, over map[string]any) {
	for k, v := range over {
		a, okA := under[k].(map[string]any)
		b, okB := v.(map[string]any)
		if okA && okB {
			Merge(a, b)
			continue
		}
		under[k] = v
	}
}

// Host works out what a host cluster is to hold. With reach it takes over the
// identities that are there; with nil it contacts nobody and makes new ones.
func Host(ctx context.Context, reach *Reach, s Settings) ([]*unstructured.Unstructured, error) {
	s, err := s.complete()
	if err != nil {
		return nil, err
	}
	ids := &identities{settings: s, namespace: s.Namespace, now: time.Now()}
	if reach != nil {
		ids.found, err = reach.existing(ctx, s.Namespace, SecretAuthority, SecretControl, SecretGateway, SecretOperator)
		if err != nil {
			return nil, err
		}
	}
	secrets, err := ids.secrets()
	if err != nil {
		return nil, err
	}
	objects, err := Render(s.Namespace, s.values())
	if err != nil {
		return nil, err
	}
	objects = append(objects, secrets...)
	if s.Zone != nil {
		objects = append(objects, object(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindZone), s.Zone))
	}
	sortObjects(objects)
	return objects, nil
}

// NewZone is a DNS zone with its name servers, each "name" or "name=address,address".
func NewZone(domain string, nameservers []string) (*v1alpha1.Zone, error) {
	domain = strings.TrimSuffix(domain, ".")
	if err := field.Hostname(domain, false); err != nil {
		return nil, fmt.Errorf("--domain: %w", err)
	}
	z := &v1alpha1.Zone{ObjectMeta: metav1.ObjectMeta{Name: domain, Labels: map[string]string{labelPartOf: manager, labelManagedBy: manager}}}
	z.Spec.Domain = domain
	if len(nameservers) == 0 {
		nameservers = []string{"ns1." + domain}
	}
	for _, n := range nameservers {
		host, addrs, _ := strings.Cut(n, "=")
		ns := v1alpha1.Nameserver{Name: host}
		if addrs != "" {
			ns.Addresses = strings.Split(addrs, ",")
		}
		z.Spec.Nameservers = append(z.Spec.Nameservers, ns)
	}
	if parsed, problems := z.Parse(fleet.Origin{Kind: v1alpha1.KindZone, Name: domain}); parsed == nil {
		return nil, fmt.Errorf("--domain %s: %s", domain, sentences(problems))
	}
	return z, nil
}

// sentences joins what is wrong with one object.
func sentences(problems []fleet.Problem) string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Message)
	}
	return strings.Join(list, "; ")
}
