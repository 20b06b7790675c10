package kube

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/fleet"
)

// facts are all that the host's objects say at one moment.
type facts struct {
	values   map[fleet.FactName]fleet.Value
	problems map[string][]fleet.Problem // by the name of their fact
	// kept are facts of objects that are there and say nothing usable now.
	kept map[fleet.FactName]bool
	// unread are facts that nobody can say anything of: their kind has not been
	// listed, or may not be.
	unread  func(fleet.FactName) bool
	secrets map[types.NamespacedName]bool
	members map[string]*access
}

func (f *facts) fault(p fleet.Problem) {
	name := strings.ToLower(p.About.Kind) + "/" + p.About.Namespace + "/" + p.About.Name
	f.problems[name] = append(f.problems[name], p)
}

// take adds what a translator made of an object; nil keeps what was told before.
func take[V fleet.Value](f *facts, name string, v V, there bool, problems []fleet.Problem) {
	n := fleet.FactName{Kind: v.Kind(), Name: name}
	if there {
		f.values[n] = v
	} else {
		f.kept[n] = true
	}
	for _, p := range problems {
		f.fault(p)
	}
}

// into makes news of the facts, given those in force.
func (f *facts) into(n news, inForce map[fleet.FactName]fleet.Value) {
	for name := range inForce {
		if f.values[name] == nil && !f.kept[name] && !f.unread(name) && name.Kind != fleet.KindProblems {
			n[name] = nil
		}
		if name.Kind == fleet.KindProblems && name.Name != "watch" && f.problems[name.Name] == nil {
			n[name] = nil
		}
	}
	for name, v := range f.values {
		n[name] = v
	}
	for name, list := range f.problems {
		n.problems(name, list)
	}
}

func (i *Installation) facts() *facts {
	f := &facts{values: map[fleet.FactName]fleet.Value{}, problems: map[string][]fleet.Problem{}, kept: map[fleet.FactName]bool{},
		secrets: map[types.NamespacedName]bool{}, members: map[string]*access{}, unread: i.unread}
	for _, c := range i.shelves.clusters.all() {
		o := originOf(v1alpha1.HostCluster, v1alpha1.KindCluster, c)
		v, problems := c.Parse(o)
		take(f, c.Name, v, v != nil, problems)
		i.member(f, c, o)
	}
	for _, p := range i.shelves.policies.all() {
		v, problems := p.Parse(originOf(v1alpha1.HostCluster, v1alpha1.KindTrafficPolicy, p))
		take(f, p.Namespace+"/"+p.Name, v, v != nil, problems)
	}
	i.zones(f)
	i.ingresses(f)
	i.gateways(f)
	i.certificates(f)
	return f
}

// unread reports whether nobody can say whether a fact's object is still there.
func (i *Installation) unread(n fleet.FactName) bool {
	s := &i.shelves
	switch n.Kind {
	case fleet.KindCluster:
		return !s.clusters.ready()
	case fleet.KindPolicy:
		return !s.policies.ready()
	case fleet.KindZone:
		return !s.zones.ready()
	case fleet.KindRoutes:
		if kindOf(n.Name) == "httproute" {
			return !s.httpRoutes.ready() || !s.gateways.ready() || !s.gatewayClasses.ready()
		}
		if !s.ingresses.ready() {
			return true
		}
		// Whether one that is there is ours may be its class's to say.
		_, namespace, _ := strings.Cut(n.Name, "/")
		namespace, name, _ := strings.Cut(namespace, "/")
		_, there := s.ingresses.get(namespace, name)
		return there && !s.ingressClasses.ready()
	case fleet.KindCertificate:
		return !i.allRoutesRead()
	}
	return false
}

func (i *Installation) allRoutesRead() bool {
	return i.shelves.ingresses.ready() && (i.shelves.httpRoutes.ready() || len(i.routesOf("httproute")) == 0)
}

func (i *Installation) routesOf(kind string) []string {
	return slices.DeleteFunc(i.voice.names(fleet.KindRoutes), func(n string) bool { return kindOf(n) != kind })
}

// zones makes one zone of every domain: the eldest object that names it.
func (i *Installation) zones(f *facts) {
	list := i.shelves.zones.all()
	origin := func(z *v1alpha1.Zone) fleet.Origin { return originOf(v1alpha1.HostCluster, v1alpha1.KindZone, z) }
	slices.SortStableFunc(list, func(a, b *v1alpha1.Zone) int { return origin(a).Compare(origin(b)) })
	first := map[string]*v1alpha1.Zone{}
	for _, z := range list {
		v, problems := z.Parse(origin(z))
		domain := strings.ToLower(strings.TrimSuffix(cmp.Or(z.Spec.Domain, z.Name), ".")) + "."
		if other := first[domain]; other != nil {
			f.fault(fleet.Problem{About: origin(z), Reason: "DuplicateName", Message: fmt.Sprintf(
				"spec.domain: Zone %q already is %s, and the eldest counts; put the records into one of them", other.Name, field.Quote(domain))})
			continue
		}
		first[domain] = z
		take(f, domain, v, v != nil, problems)
	}
}

// member says how a cluster is reached that is watched by credentials of its own,
// or by ours.
func (i *Installation) member(f *facts, c *v1alpha1.Cluster, o fleet.Origin) {
	switch {
	case field.Label(c.Name) != nil || c.Name == v1alpha1.HostCluster: // its own problem says so
	case c.Name == i.cfg.Member:
		f.members[c.Name] = &access{config: credentials.Own(i.cfg.Host), about: o, token: "own"}
	case c.Spec.CredentialsRef != nil:
		f.members[c.Name] = i.access(f, c, o)
	}
}

// access reads a member's credentials; nil while nobody knows what they are.
func (i *Installation) access(f *facts, c *v1alpha1.Cluster, o fleet.Origin) *access {
	const (
		path       = "spec.credentialsRef"
		unreadable = `the Secret %s cannot be read (%s), so the last known credentials are used, if there are any; look into the API server's log, and if it cannot decrypt the Secret, delete that and run "meridian join" again`
	)
	name := types.NamespacedName{Namespace: i.cfg.Namespace, Name: c.Spec.CredentialsRef.Name}
	fault := func(reason, format string, args ...any) *access {
		return &access{about: o, reason: reason, fault: path + ": " + fmt.Sprintf(format, args...)}
	}
	// A Secret that is not read says nothing of the credentials: the last ones are as good as ever.
	unread := func(a access, reason, format string, args ...any) *access {
		f := fault(reason, format, args...)
		a.about, a.reason, a.fault, a.unread = o, f.reason, f.fault, true
		return &a
	}
	if err := field.Subdomain(name.Name); err != nil {
		return fault("InvalidCredentials", "%v", err)
	}
	f.secrets[name] = true
	secret, known := i.secrets.get(name)
	switch {
	case i.secrets.denied(name):
		return unread(access{}, "Forbidden", "we may not read the Secret %s; run \"meridian join\" again, which grants that, or grant meridiand's ServiceAccount get, list, watch and update on it", name)
	case !known:
		why := i.secrets.unreadable(i.server, name)
		if why == "" {
			return nil
		}
		var last access
		if a := i.memory.members[c.Name]; a != nil {
			last = *a
		}
		return unread(last, "Unreadable", unreadable, name, why)
	case secret == nil:
		return fault("CredentialsNotFound", `the Secret %s does not exist; make it with "meridian join", what the cluster said before stays in force`, name)
	}
	kubeconfig := secret.Data[credentials.SecretKey]
	if kubeconfig == nil {
		return fault("CredentialsNotFound", `the Secret %s has no key %q; make it with "meridian join"`, name, credentials.SecretKey)
	}
	cfg, err := credentials.Parse(kubeconfig, credentials.Options{Loopback: i.cfg.Loopback})
	if err != nil {
		return fault("InvalidCredentials", "Secret %s: %v", name, err)
	}
	a := access{config: cfg, about: o, token: tokenOfKubeconfig(kubeconfig), kubeconfig: kubeconfig}
	if why := i.secrets.unreadable(i.server, name); why != "" {
		return unread(a, "Unreadable", unreadable, name, why)
	}
	return &a
}

func tokenOfKubeconfig(kubeconfig []byte) string {
	sum := sha256.Sum256(kubeconfig)
	return hex.EncodeToString(sum[:])
}

func (i *Installation) ingresses(f *facts) {
	for _, ing := range i.ingressesOfOurs() {
		set, problems := k8s.Routes(ing, originOf(v1alpha1.HostCluster, "Ingress", ing))
		take(f, "ingress/"+ing.Namespace+"/"+ing.Name, set, set != nil, problems)
	}
}

// ingressesOfOurs are those of a class of ours, sorted by name.
func (i *Installation) ingressesOfOurs() []*networkingv1.Ingress {
	ours := k8s.Classes(i.shelves.ingressClasses.all())
	return slices.DeleteFunc(i.shelves.ingresses.all(), func(ing *networkingv1.Ingress) bool { return !ours[k8s.Class(ing)] })
}

// certificates adds those that routes name, in force or about to be.
func (i *Installation) certificates(f *facts) {
	named := map[types.NamespacedName]bool{}
	gather := func(v fleet.Value) {
		if set, ok := v.(*fleet.RouteSet); ok {
			for _, r := range set.Routes {
				if ns, name, ok := strings.Cut(string(r.Certificate), "/"); ok {
					named[types.NamespacedName{Namespace: ns, Name: name}] = true
				}
			}
		}
	}
	for _, v := range f.values {
		gather(v)
	}
	for n := range f.kept {
		gather(i.voice.facts[n])
	}
	for name := range named {
		f.secrets[name] = true
		fact := fleet.FactName{Kind: fleet.KindCertificate, Name: string(k8s.CertificateName(name.Namespace, name.Name))}
		secret, known := i.secrets.get(name)
		if why := i.secrets.unreadable(i.server, name); why != "" {
			f.fault(fleet.Problem{About: secretOrigin(name), Reason: "Unreadable", Message: fmt.Sprintf(
				"the Secret %s cannot be read (%s), so routes are served with its last known certificate, if there is one; look into the API server's log, and if it cannot decrypt the Secret, delete that and create it again", name, why)})
		}
		switch {
		case i.secrets.denied(name):
			f.kept[fact] = true
			f.fault(fleet.Problem{About: secretOrigin(name), Reason: "Forbidden", Message: fmt.Sprintf(
				"we may not read the Secret %s that routes are served with over TLS; name its namespace in the chart's tlsNamespaces (meridian init --set tlsNamespaces={%s}), or grant meridiand's ServiceAccount get, list and watch on it", name, name.Namespace)})
		case !known:
			f.kept[fact] = true
		case secret != nil:
			v, problems := k8s.Certificate(secret, originOf(v1alpha1.HostCluster, "Secret", secret))
			if v == nil && len(problems) == 0 {
				problems = []fleet.Problem{{About: originOf(v1alpha1.HostCluster, "Secret", secret), Reason: "InvalidCertificate",
					Message: fmt.Sprintf("type: %s is not kubernetes.io/tls, so the Secret holds no certificate for routes; create it with: kubectl create secret tls", field.Quote(string(secret.Type)))}}
			}
			take(f, fact.Name, v, v != nil, problems)
		}
	}
}

func secretOrigin(name types.NamespacedName) fleet.Origin {
	return originOf(v1alpha1.HostCluster, "Secret", &metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name})
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
