package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// Settings say what one installation is to be. What they leave open is as it was,
// if there is one already.
type Settings struct {
	Namespace   string         // empty means meridian-system
	Region      fleet.Region   // empty: as the nodes say
	Network     string         // of this cluster's endpoints; empty: none of a name
	TrustDomain string         // empty means that of the authority, or meridian.internal
	Replicas    int            // of the daemon; 0 means 2
	Values      map[string]any // of the chart, beside what is said here; they win
	ResetValues bool           // forget the values that were given before, but those that flags say

	// Authority is one of another installation, whose identities this one shall
	// share; zero: its own. Bundle is not looked at.
	Authority           trust.PEM
	CertificateLifetime time.Duration // 0 means 90 days

	Zone *v1alpha1.Zone // DNS zone to begin with; nil: none. With a dedicated API it belongs there, see WriteZone
}

// DefaultTrustDomain is that of an installation that names none.
const DefaultTrustDomain = "meridian.internal"

// told is what the settings say, as values of the chart.
func (s *Settings) told() map[string]any {
	v := map[string]any{}
	if s.Region != "" {
		put(v, string(s.Region), "region")
	}
	if s.Network != "" {
		put(v, s.Network, "network")
	}
	if s.TrustDomain != "" {
		put(v, s.TrustDomain, "trustDomain")
	}
	if s.Replicas != 0 {
		put(v, int64(s.Replicas), "meridiand", "replicas")
	}
	Merge(v, s.Values)
	return v
}

// take reads from values of the chart what the settings have fields for, so that
// "--set meridiand.replicas=3" means what "--replicas 3" does.
func (s *Settings) take(values map[string]any) error {
	for key, into := range map[string]*string{"region": (*string)(&s.Region), "network": &s.Network, "trustDomain": &s.TrustDomain} {
		switch v := values[key].(type) {
		case nil:
		case string:
			*into = v
		default:
			return fmt.Errorf("the value %s is %v, which is no word", key, v)
		}
	}
	daemon, _ := values["meridiand"].(map[string]any)
	n, told := daemon["replicas"], false
	switch n := n.(type) {
	case nil:
		return nil
	case int64:
		s.Replicas, told = int(n), true
	case float64: // as YAML and JSON are read
		s.Replicas, told = int(n), n == float64(int(n))
	}
	if !told || s.Replicas < 1 || s.Replicas > 16 {
		return fmt.Errorf("--replicas %v: 1 to 16 daemons stand in a region", n)
	}
	return nil
}

// complete refuses what cannot be, and fills in what goes without saying.
func (s *Settings) complete() error {
	switch {
	case s.Region == "":
		return errors.New("no region is given; name the one that this cluster stands in with --region")
	case field.Label(string(s.Region)) != nil:
		return fmt.Errorf("--region: %w", field.Label(string(s.Region)))
	case s.Network != "" && field.Label(s.Network) != nil:
		return fmt.Errorf("--network: %w", field.Label(s.Network))
	case s.TrustDomain != "" && trust.CheckDomain(s.TrustDomain) != nil:
		return fmt.Errorf("--trust-domain: %w", trust.CheckDomain(s.TrustDomain))
	}
	s.Replicas = cmp.Or(s.Replicas, 2)
	return nil
}

// dedicated reports whether the installation is to have an API of its own.
func (s *Settings) dedicated() bool { return wantsAPI(s.Values) }

func wantsAPI(values map[string]any) bool {
	on, _, _ := unstructured.NestedBool(values, "api", "enabled")
	return on
}

// prefix begins the names of the daemons.
func (s *Settings) prefix() string {
	if own, _, _ := unstructured.NestedString(s.Values, "meridiand", "instancePrefix"); own != "" {
		return own
	}
	return string(s.Region)
}

func (s *Settings) identity(role trust.Role, region fleet.Region, name string) trust.Identity {
	return trust.Identity{Domain: s.TrustDomain, Role: role, Region: region, Name: name}
}

// values are those of the chart.
func (s *Settings) values() map[string]any {
	v := map[string]any{
		"region": string(s.Region), "network": s.Network, "trustDomain": s.TrustDomain, "createNamespace": true,
		"meridiand": map[string]any{"replicas": int64(s.Replicas), "identitySecret": SecretControl},
		"gateway":   map[string]any{"identitySecret": SecretGateway, "identityName": gatewayName},
	}
	Merge(v, s.Values)
	return v
}

// Merge lays values of the chart over others, map by map. It takes no map of over
// into under, so that neither changes with the other.
func Merge(under, over map[string]any) {
	for k, v := range over {
		b, ok := v.(map[string]any)
		if !ok {
			under[k] = v
			continue
		}
		a, ok := under[k].(map[string]any)
		if !ok {
			a = map[string]any{}
			under[k] = a
		}
		Merge(a, b)
	}
}

// Init makes a cluster the host of an installation, or changes the one that it
// hosts. In a dry run it writes nothing. It returns what the cluster is to hold and
// what was done for it.
func Init(ctx context.Context, reach *Reach, s Settings, dryRun bool, p Progress) (parts []Part, did Outcome, err error) {
	s.Namespace = cmp.Or(s.Namespace, Namespace)
	stop := p.during("looking at %s", reach.Name)
	was, err := s.preflight(ctx, reach)
	var objects []*unstructured.Unstructured
	if err == nil {
		objects, err = host(ctx, reach, s)
	}
	stop()
	if err != nil {
		return nil, did, err
	}
	parts = s.parts(objects)
	gone, err := reach.dropped(ctx, s.Namespace, was, objects)
	if err != nil {
		return nil, did, err
	}
	if dryRun {
		for _, o := range gone {
			p.Say("Note: %s would be deleted, since the values do not ask for it any more.", name(o))
		}
		parts[0].Objects, err = reach.withoutSecrets(ctx, objects, p)
		return parts, did, err
	}
	p.Say("%s, region %s:", reach.Name, s.Region)
	// First, since what comes may need what these hold: an address, or a port.
	if err := reach.removeAll(ctx, gone, p); err != nil {
		return nil, did, err
	}
	did, err = reach.Apply(ctx, objects, p)
	if err != nil {
		return nil, did, fmt.Errorf("%w; what came before it is applied and stays; when the cause is mended, \"meridian init --context %s\" goes on from there", err, reach.Name)
	}
	p.Say("  %s", did)
	return parts, did, nil
}

// withoutSecrets leaves out Secrets that the cluster has: a dry run is looked at, and
// kept in logs, where no authority's key belongs.
func (r *Reach) withoutSecrets(ctx context.Context, objects []*unstructured.Unstructured, p Progress) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetKind() == "Secret" {
			found, err := r.existing(ctx, o.GetNamespace(), o.GetName())
			if err != nil {
				return nil, err
			}
			if found[o.GetName()] != nil {
				p.Say("Note: %s is there and is not printed, since it may hold keys.", name(o))
				continue
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// Offline works out what a host cluster is to hold without contacting anybody: a
// new authority and new certificates.
func Offline(s Settings) ([]Part, error) {
	s.Namespace = cmp.Or(s.Namespace, Namespace)
	s.Values = s.told()
	if err := s.take(s.Values); err != nil {
		return nil, err
	}
	if err := errors.Join(s.complete(), s.settled(nil, nil)); err != nil {
		return nil, err
	}
	objects, err := host(context.Background(), nil, s)
	return s.parts(objects), err
}

// parts are what a host cluster holds, and what belongs into its dedicated API.
func (s *Settings) parts(objects []*unstructured.Unstructured) []Part {
	parts := []Part{{Where: "host cluster", Objects: objects}}
	if s.dedicated() && s.Zone != nil {
		parts = append(parts, Part{Where: "dedicated API", Objects: s.zone()})
	}
	return parts
}

// preflight completes the settings from what is there, and says everything that is
// missing at once. It returns what the installation was told before; nil: nothing.
func (s *Settings) preflight(ctx context.Context, reach *Reach) (was *record, err error) {
	if err := reach.version(); err != nil {
		return nil, err
	}
	if reach.dedicated(ctx, s.Namespace) {
		return nil, fmt.Errorf("%s is a dedicated API, in which nothing runs; name with --context the cluster that it was installed into", reach.Name)
	}
	if was, err = s.inherit(ctx, reach); err != nil {
		return nil, err
	}
	s.Values = s.told()
	if err := s.take(s.Values); err != nil {
		return nil, err
	}
	if err := s.settled(reach, was); err != nil {
		return nil, err
	}
	var missing []string
	if s.Region == "" {
		site, err := reach.site(ctx)
		if err != nil {
			return nil, err
		}
		if s.Region, err = site.Region(); err != nil {
			missing = append(missing, fmt.Sprintf("the region of %s is not known: %v", reach.Name, err))
		}
	}
	trial := *s // a region is needed to render anything
	trial.Region, trial.TrustDomain = cmp.Or(s.Region, "unknown"), cmp.Or(s.TrustDomain, DefaultTrustDomain)
	if err := trial.complete(); err != nil {
		return nil, err
	}
	objects, err := Render(s.Namespace, trial.values())
	if err != nil {
		return nil, err
	}
	for _, secret := range []string{SecretAuthority, SecretRecord} {
		objects = append(objects, bare(corev1.SchemeGroupVersion.WithKind("Secret"), s.Namespace, secret))
	}
	if !s.dedicated() {
		objects = append(objects, s.zone()...)
	}
	lacking, err := reach.missingToApply(ctx, objects, nil)
	if err != nil {
		return nil, err
	}
	if lacking != "" {
		missing = append(missing, lacking)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("Meridian cannot be installed in %s yet, and nothing was written:\n  - %s", reach.Name, strings.Join(missing, "\n  - ")) //nolint:staticcheck // a name
	}
	return was, s.complete()
}

// host works out what a host cluster is to hold. With reach it takes over the
// identities that are there; with nil it makes new ones.
func host(ctx context.Context, reach *Reach, s Settings) ([]*unstructured.Unstructured, error) {
	ids := &identities{settings: s, namespace: s.Namespace, now: time.Now()}
	if reach != nil {
		var err error
		names := []string{SecretAuthority, SecretControl, SecretGateway, SecretOperator}
		if s.dedicated() {
			names = append(names, apiSecretNames()...)
		}
		ids.found, err = reach.existing(ctx, s.Namespace, names...)
		if err != nil {
			return nil, err
		}
	}
	secrets, err := ids.secrets()
	if err != nil {
		return nil, err
	}
	if s.dedicated() {
		more, err := ids.apiSecrets()
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, more...)
	}
	s = ids.settings // now with a trust domain
	objects, err := Render(s.Namespace, s.values())
	if err != nil {
		return nil, err
	}
	told := &record{values: map[string]any{"region": string(s.Region), "trustDomain": s.TrustDomain}, lifetime: s.CertificateLifetime}
	Merge(told.values, s.Values)
	kept, err := told.secret(s.Namespace)
	if err != nil {
		return nil, err
	}
	objects = append(objects, secrets...)
	if !s.dedicated() {
		objects = append(objects, s.zone()...)
	}
	sortObjects(objects)
	first := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Namespace" })
	return slices.Insert(objects, first, kept), nil // an init that is interrupted is known
}

// dropped are the objects that an installation was told to have before and that are
// not among those that it shall have now, the last to go first. CRDs and the
// namespace stay: with them would go what people wrote.
func (r *Reach) dropped(ctx context.Context, namespace string, was *record, now []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if was == nil {
		return nil, nil
	}
	before := Settings{Namespace: namespace, Values: was.values}
	if err := errors.Join(before.take(was.values), before.complete()); err != nil {
		return nil, err
	}
	old, err := Render(namespace, before.values())
	if err != nil {
		return nil, nil //nolint:nilerr // of a chart that took other values: what it made is not known
	}
	wanted := map[string]bool{}
	for _, o := range now {
		wanted[name(o)] = true
	}
	var out []*unstructured.Unstructured
	for _, o := range old {
		if wanted[name(o)] || o.GetKind() == "Namespace" || o.GetKind() == "CustomResourceDefinition" {
			continue
		}
		client, err := r.resource(ctx, o)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{}); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, r.explain("reading "+name(o), err)
		case made(live):
			out = append(out, bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName()))
		}
	}
	return out, nil
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
			for addr := range strings.SplitSeq(addrs, ",") {
				ns.Addresses = append(ns.Addresses, v1alpha1.Address(addr))
			}
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
