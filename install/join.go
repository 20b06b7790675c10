package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/clouds"
)

// Joining is an order to make a cluster a member.
type Joining struct {
	Membership // what is empty of it is as it was, or read from the member's nodes

	Namespace     string        // of the installation, in both clusters; empty means meridian-system
	Server        string        // by which the host reaches the member's API server; empty: as we do
	TokenLifetime time.Duration // 0 means 7 days
	ZoneLabels    bool          // every node has to say its zone
	AnyEndpoint   bool          // endpoints may lie anywhere, whatever the nodes say
	Workloads     []string      // resources that the host may write there, of ParseWorkloads; none: as it was
	WorkloadsAs   []string      // ServiceAccounts in whose names alone it may do so, of ParseAccounts; none: by rights of its own

	uid string // of the cluster that joins; empty: it does not say
}

// pending stands in a dry run for the token that only applying makes.
const pending = "made-by-TokenRequest-when-applied"

// Join makes a cluster a member. In a dry run it writes nothing, and the parts
// that it returns hold what it would write; the token stands for itself.
func Join(ctx context.Context, member, host *Reach, j Joining, dryRun bool, p Progress) ([]Part, error) {
	j.Namespace, j.TokenLifetime = cmp.Or(j.Namespace, Namespace), cmp.Or(j.TokenLifetime, DefaultTokenLifetime)
	if err := j.check(); err != nil {
		return nil, err
	}
	stop := p.during("looking at %s and %s", member.Name, host.Name)
	ours, err := j.preflight(ctx, member, host, p)
	stop()
	if err != nil {
		return nil, err
	}
	inMember := j.inMember()
	if ours {
		inMember = append([]*unstructured.Unstructured{memberNamespace(j.Namespace)}, inMember...)
	}
	ca, err := member.authority()
	if err != nil {
		return nil, err
	}
	server := cmp.Or(j.Server, member.Config.Host)
	parts := []Part{{Where: "member " + j.Name, Objects: inMember}, {Where: "host cluster"}}
	if dryRun {
		kubeconfig, err := writeKubeconfig(j.Name, server, ca, pending)
		parts[1].Objects = j.inHost(kubeconfig)
		return parts, err
	}
	p.Say("%s (%s):", j.Name, member.Name)
	did, err := member.Apply(ctx, inMember, p)
	if err != nil {
		return nil, err
	}
	p.Say("  %s", did)
	kubeconfig, err := j.kubeconfig(ctx, member, host, server, ca, p)
	if err != nil {
		return nil, err
	}
	parts[1].Objects = j.inHost(kubeconfig)
	p.Say("host (%s):", host.Name)
	did, err = host.Apply(ctx, parts[1].Objects, p)
	if err != nil {
		return nil, err
	}
	p.Say("  %s", did)
	return parts, nil
}

// inHost are the host's objects of a member, in the order in which they are applied.
func (j *Joining) inHost(kubeconfig []byte) []*unstructured.Unstructured {
	return append(opened(j.Namespace, j.Name), credentials(j.Namespace, j.Name, j.uid, j.Server, kubeconfig), j.object())
}

// check refuses what cannot be right before anybody is asked.
func (j *Joining) check() error {
	if err := field.Label(j.Name); err != nil {
		return fmt.Errorf("the member's name %w", err)
	}
	if j.Name == v1alpha1.HostCluster {
		return fmt.Errorf("%q names the installation itself; choose another name for the member, also when it is the host cluster that joins", j.Name)
	}
	if j.TokenLifetime < ShortestTokenLifetime {
		return fmt.Errorf("--token-lifetime %s: API servers issue none below %s", j.TokenLifetime, ShortestTokenLifetime)
	}
	if len(j.WorkloadsAs) > 0 && len(j.Workloads) == 0 {
		return errors.New("--workloads-as says in whose name workloads are written; say with --workloads which")
	}
	if j.Server != "" {
		if u, err := url.Parse(j.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("--server %.80q: write https://host:port, as the host cluster reaches the member's API server", j.Server)
		}
	}
	return nil
}

// preflight completes the order from what the member says, and says everything
// that is missing at once. It reports whether the member's namespace is ours to
// make, and so to remove.
func (j *Joining) preflight(ctx context.Context, member, host *Reach, p Progress) (ours bool, err error) {
	if err := errors.Join(member.version(), host.version()); err != nil {
		return false, err
	}
	var missing []string
	if there, known := host.crd(ctx, v1alpha1.Group, v1alpha1.KindCluster); known && !there {
		missing = append(missing, fmt.Sprintf("%s is no host cluster: it knows no Cluster of meridian.dev; run \"meridian init --context %s\" first", host.Name, host.Name))
	}
	if host.follower(ctx, j.Namespace) {
		missing = append(missing, fmt.Sprintf("%s is no host cluster: its daemons follow those of another region and look at no Clusters here; name with --host-context the cluster that \"meridian init\" was told with --share-with", host.Name))
	}
	ours, lacking, err := j.rights(ctx, member, host)
	if err != nil {
		return false, err
	}
	missing = append(missing, lacking...)
	taken, err := j.taken(ctx, member)
	if err != nil {
		return false, err
	}
	missing = append(missing, taken...)
	if len(missing) == 0 {
		if err := member.same(ctx, host, j.Namespace, j.Name); err != nil {
			return false, err
		}
		if err := j.inherit(ctx, member, host); err != nil {
			return false, err
		}
		again, err := j.twice(ctx, member, host)
		if err != nil {
			return false, err
		}
		if again != "" {
			missing = append(missing, again)
		}
		j.uid = member.uid(ctx)
	}
	site, err := member.site(ctx)
	if err != nil {
		return false, err
	}
	missing = append(missing, j.settle(site, p)...)
	if j.Server == "" && onThisMachine(member.Config.Host) {
		missing = append(missing, fmt.Sprintf("your context reaches its API server at %s, which is your own machine and leads the host astray; say with --api-server how the host reaches it (kind: https://<name>-control-plane:6443)", member.Config.Host))
	}
	if len(missing) > 0 {
		return false, fmt.Errorf("%s cannot join yet, and nothing was written:\n  - %s", j.Name, strings.Join(missing, "\n  - "))
	}
	if cluster, problems := j.cluster().Parse(fleet.Origin{Kind: v1alpha1.KindCluster, Name: j.Name}); cluster == nil || len(problems) > 0 {
		return false, fmt.Errorf("the Cluster %s would not be accepted: %s", j.Name, sentences(problems))
	}
	return ours, nil
}

// rights says what whoever runs the command may not do in both clusters. It reports
// whether the member's namespace is ours to make, and so to remove.
func (j *Joining) rights(ctx context.Context, member, host *Reach) (ours bool, missing []string, err error) {
	ns, err := member.kube.CoreV1().Namespaces().Get(ctx, j.Namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		ours = ns.Labels[labelJoined] == "true"
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		ours = true // as far as anybody knows
	default:
		return false, nil, member.explain("reading Namespace "+j.Namespace, err)
	}
	inMember := j.inMember()
	if ours {
		inMember = append(inMember, memberNamespace(j.Namespace))
	}
	lacking, err := host.missingToApply(ctx, j.inHost(nil), nil)
	if err != nil {
		return false, nil, err
	}
	if lacking != "" {
		missing = append(missing, lacking)
	}
	lacking, err = member.missingToApply(ctx, inMember, []right{
		{verb: "list", resource: "nodes"},
		{verb: "create", resource: "serviceaccounts", subresource: "token", namespace: j.Namespace},
	})
	if err != nil {
		return false, nil, err
	}
	if lacking != "" {
		missing = append(missing, lacking)
	}
	return ours, missing, nil
}

// onThisMachine reports whether a URL leads to loopback.
func onThisMachine(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback() || u.Hostname() == "localhost"
}

// settle fills in from the nodes what the order leaves open, and returns what they
// do not say either.
func (j *Joining) settle(site Site, p Progress) (missing []string) {
	if site.Nodes == 0 && !site.Hidden {
		p.Say("Note: %s has no nodes yet.", j.Name)
	}
	if j.Region == "" {
		region, err := site.Region()
		if err != nil {
			missing = append(missing, err.Error())
		}
		j.Region = region
	}
	if !j.Place.Known() && j.Region != "" {
		known, ok := clouds.Find(j.Region)
		if !ok {
			missing = append(missing, fmt.Sprintf("no cloud has a region %q, so nobody knows where on earth it is; say it with --place lat,lon", j.Region))
		}
		j.Place = known.Place
	}
	j.Zone = cmp.Or(j.Zone, site.Zone())
	if len(site.Unzoned) > 0 {
		sentence := fmt.Sprintf("%d of %d nodes have no label topology.kubernetes.io/zone (%s …)", len(site.Unzoned), site.Nodes, site.Unzoned[0])
		if j.ZoneLabels {
			missing = append(missing, sentence+"; label them with kubectl label node, or leave --zone-labels out")
		} else {
			p.Say("Note: %s; traffic is not kept inside of zones there.", sentence)
		}
	}
	switch {
	case j.AnyEndpoint:
		j.Endpoints = nil
	case len(j.Endpoints) > 0:
	case len(site.Networks) > 0 && len(site.Networks) <= 256:
		j.Endpoints = site.Networks
		p.Say("Note: endpoints of %s are taken from %s only, as its nodes say; change that with --endpoint-network.", j.Name, join(site.Networks))
	default:
		p.Say("Note: the nodes of %s do not say where their pods' addresses lie, so any are taken from it; limit them with --endpoint-network.", j.Name)
	}
	return missing
}

func join(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// kubeconfig is the one that the host has, if it is good for long enough, or a new
// one, which has been tried.
func (j *Joining) kubeconfig(ctx context.Context, member, host *Reach, server string, ca []byte, p Progress) ([]byte, error) {
	found, err := host.existing(ctx, j.Namespace, secretName(j.Name))
	if err != nil {
		return nil, err
	}
	if s := found[secretName(j.Name)]; stillGood(s, server, ca, time.Now()) && (j.Server != "" || member.try(ctx, s.Data[kubeconfigKey]) == nil) {
		return s.Data[kubeconfigKey], nil
	}
	defer p.during("waiting for credentials of %s", j.Name)()
	token, err := member.issueToken(ctx, j.Namespace, j.TokenLifetime)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := writeKubeconfig(j.Name, server, ca, token)
	if err != nil {
		return nil, err
	}
	// Rights that were granted a moment ago may not have reached every part of the
	// API server. An address that only the host knows cannot be tried from here.
	reached := server
	if j.Server != "" {
		reached = member.Config.Host
	}
	trial, err := writeKubeconfig(j.Name, reached, ca, token)
	if err != nil {
		return nil, err
	}
	var last error
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		last = member.try(ctx, trial)
		return last == nil, nil
	})
	return kubeconfig, errors.Join(err, last)
}

// ParseGateway reads "address[:port]", with IPv6 in brackets if a port follows.
func ParseGateway(text string) (v1alpha1.Gateway, error) {
	bad := fmt.Errorf("--gateway %.60q: write the address that resolvers shall answer with, and a port if it is not 80: 192.0.2.7, 192.0.2.7:8080 or [2001:db8::7]:8080", text)
	if a, err := netip.ParseAddr(text); err == nil {
		return v1alpha1.Gateway{Address: v1alpha1.Address(a.String())}, nil
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil || ap.Port() == 0 {
		return v1alpha1.Gateway{}, bad
	}
	port := int32(ap.Port())
	return v1alpha1.Gateway{Address: v1alpha1.Address(ap.Addr().String()), Port: &port}, nil
}

// ParseNetworks reads address prefixes, sorts them, and refuses two that are equal.
func ParseNetworks(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("--endpoint-network %.60q is no address prefix; write one like 10.1.0.0/16", text)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return out, nil
}
