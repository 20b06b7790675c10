package install

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/trust"
)

// workloads looks whether the daemons and gateways run.
func (k *check) workloads(ctx context.Context) error {
	found := 0
	for resource, kind := range map[string]string{"statefulsets": "StatefulSet", "deployments": "Deployment"} {
		list, err := k.list(ctx, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: resource})
		if err != nil {
			return err
		}
		for i := range list {
			o := &list[i]
			found++
			o.SetKind(kind)
			want, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
			ready, _, _ := unstructured.NestedInt64(o.Object, "status", "readyReplicas")
			if ready < want {
				k.report.add(Fault, name(o), fmt.Sprintf("%d of %d pods are ready%s", ready, want, k.why(ctx, o)),
					fmt.Sprintf("kubectl --context %s -n %s describe pods -l app.kubernetes.io/name=%s; kubectl --context %s -n %s logs %s/%s", k.host.Name, k.Namespace, o.GetName(), k.host.Name, k.Namespace, strings.ToLower(kind), o.GetName()))
				continue
			}
			k.report.add(Fine, name(o), fmt.Sprintf("%d of %d pods are ready", ready, want), "")
		}
	}
	if found == 0 {
		k.report.add(Fault, "Namespace "+k.Namespace, "neither daemons nor gateways are installed in it", k.first(ctx))
	}
	return nil
}

// why is what the first pod that is not ready says of itself, if anything.
func (k *check) why(ctx context.Context, o *unstructured.Unstructured) string {
	pods, err := k.host.kube.CoreV1().Pods(k.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + o.GetName()})
	if err != nil {
		return ""
	}
	if len(pods.Items) == 0 {
		return ", and there are no pods"
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil {
				return fmt.Sprintf("; %s: %s %s", p.Name, w.Reason, w.Message)
			}
		}
		for _, c := range p.Status.Conditions {
			if c.Status == corev1.ConditionFalse && c.Message != "" {
				return fmt.Sprintf("; %s: %s", p.Name, c.Message)
			}
		}
	}
	return ""
}

// services looks whether the world can reach what it should.
func (k *check) services(ctx context.Context) error {
	list, err := k.host.kube.CoreV1().Services(k.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager})
	if err != nil {
		return k.host.explain("listing Services", err)
	}
	for _, s := range list.Items {
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			continue
		}
		about := "Service " + s.Namespace + "/" + s.Name
		var at []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			at = append(at, in.IP+in.Hostname)
		}
		switch {
		case len(at) > 0:
			k.report.add(Fine, about, "reached at "+strings.Join(at, ", "), "")
		case k.Now.Sub(s.CreationTimestamp.Time) < slow:
			k.report.add(Note, about, "it has no address yet", "wait a minute")
		default:
			k.report.add(Fault, about, "no load balancer has given it an address", fmt.Sprintf("kubectl --context %s -n %s describe service %s; a cluster without load balancers needs one (MetalLB), or type NodePort", k.host.Name, s.Namespace, s.Name))
		}
	}
	return nil
}

// identities looks at every certificate in the Secrets of the installation.
func (k *check) identities(ctx context.Context) error {
	names := []string{SecretAuthority, SecretControl, SecretGateway, SecretOperator}
	if k.api {
		names = append(names, apiSecretNames()...)
	}
	found, err := k.host.existing(ctx, k.Namespace, names...)
	if err != nil {
		return err
	}
	for _, n := range names {
		about := fmt.Sprintf("Secret %s/%s", k.Namespace, n)
		s := found[n]
		if s == nil {
			if n != SecretOperator { // people may keep theirs elsewhere
				k.report.add(Fault, about, "it is not there, and pods wait for it or will", k.missing(ctx, n, found))
			}
			continue
		}
		var firstKey string
		var first *x509.Certificate
		for _, key := range slices.Sorted(maps.Keys(s.Data)) {
			if !certificateKey(key) && (key != trust.BundleFile || n != SecretAuthority && n != SecretAPIAuthority) {
				continue
			}
			c, err := leaf(s.Data[key])
			if err != nil {
				k.report.add(Fault, about, fmt.Sprintf("%s cannot be read: %v", key, err), k.anew(n))
				continue
			}
			if first == nil || c.NotAfter.Before(first.NotAfter) {
				firstKey, first = key, c
			}
		}
		k.expiry(about, s, firstKey, first)
	}
	return nil
}

// issue is the command that makes Secrets of identities that are missing. Helm makes
// none.
func (k *check) issue() string {
	if k.helm {
		return "issue it with \"meridian certs issue\", as values.yaml of the chart says, and make the Secret of it"
	}
	return k.again()
}

// lostAuthority is what helps when the authority is gone or broken. A new one would
// make strangers of everybody.
const lostAuthority = "put it back from a backup, or from another region with \"meridian init --share-with\"; without either, delete the Secrets " +
	SecretControl + ", " + SecretGateway + " and " + SecretOperator + " too and run \"meridian init\", which makes a new one, and then init the other regions so"

// missing is what helps when a Secret of identities is not there.
func (k *check) missing(ctx context.Context, secret string, found map[string]*corev1.Secret) string {
	switch {
	case k.helm:
		return k.issue()
	case found[SecretControl] == nil && found[SecretGateway] == nil:
		return k.first(ctx) // nothing of an authority is in force
	case secret == SecretAuthority:
		return lostAuthority
	}
	return k.issue()
}

// anew is what helps when a Secret of identities is broken.
func (k *check) anew(secret string) string {
	if secret == SecretAuthority {
		return lostAuthority
	}
	return fmt.Sprintf("kubectl --context %s -n %s delete secret %s; %s", k.host.Name, k.Namespace, secret, k.issue())
}

// first is the command that installs what is not there: with its record, as it was.
func (k *check) first(ctx context.Context) string {
	if rec, err := k.host.record(ctx, k.Namespace); err == nil && rec != nil {
		return k.again()
	}
	return k.again() + " --region REGION"
}

// expiry says of the certificate of a Secret that ends first how long it is good
// for. It is renewed when a third of its life is left; at a quarter, something is
// wrong with that.
func (k *check) expiry(about string, s *corev1.Secret, key string, c *x509.Certificate) {
	if c == nil {
		k.report.add(Fault, about, "it holds no certificate", k.anew(s.Name))
		return
	}
	remedy := fmt.Sprintf("meridian certs renew --context %s; and see why it was not renewed: kubectl --context %s -n %s logs -l %s=meridian-renew", k.host.Name, k.host.Name, k.Namespace, labelName)
	switch {
	case s.Name == SecretAPIAuthority:
		remedy = fmt.Sprintf("delete it and the Secrets %s, %s and %s, and run %s, which makes a new one; then start the pods of %s and meridiand anew", SecretAPI, SecretAPIClient, SecretAPIAdmin, k.again(), apiName)
	case s.Name == SecretAuthority:
		remedy = "replace the authority in three rounds, as docs/running.md says, before it ends: everything that it issued ends with it"
	case !made(s):
		remedy = "it was not made by \"meridian init\", so nobody renews it but you: issue it again with \"meridian certs issue\""
	}
	left := c.NotAfter.Sub(k.Now)
	switch {
	case left <= 0:
		k.report.add(Fault, about, fmt.Sprintf("%s expired %s UTC", key, c.NotAfter.UTC().Format(time.DateTime)), remedy)
	case left < c.NotAfter.Sub(c.NotBefore)/4:
		k.report.add(Note, about, fmt.Sprintf("%s expires in %s", key, days(left)), remedy)
	default:
		k.report.add(Fine, about, "good for "+days(left), "")
	}
}

// days is a long time in words; short ones are exact.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// members looks at the credentials by which members are watched.
func (k *check) members(ctx context.Context) error {
	list, err := k.host.dynamic.Resource(clustersResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil //nolint:nilerr // said by objects and crds
	}
	for _, o := range list.Items {
		ref, _, _ := unstructured.NestedString(o.Object, "spec", "credentialsRef", "name")
		if ref == "" {
			continue // described in files
		}
		again := fmt.Sprintf("meridian join %s --context CONTEXT --host-context %s", o.GetName(), k.host.Name)
		about := fmt.Sprintf("Credentials of %s", o.GetName())
		found, err := k.host.existing(ctx, k.Namespace, ref)
		if err != nil {
			return err
		}
		if found[ref] == nil {
			k.report.add(Fault, about, fmt.Sprintf("the Secret %s/%s is not there", k.Namespace, ref), again)
			continue
		}
		k.token(about, found[ref].Data[kubeconfigKey], again)
	}
	return nil
}

// token looks how long a member's token is good for.
func (k *check) token(about string, kubeconfig []byte, again string) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil || cfg.Contexts[cfg.CurrentContext] == nil || cfg.AuthInfos[cfg.Contexts[cfg.CurrentContext].AuthInfo] == nil {
		k.report.add(Fault, about, "the Secret holds no kubeconfig under the key "+kubeconfigKey, again)
		return
	}
	bearer := cfg.AuthInfos[cfg.Contexts[cfg.CurrentContext].AuthInfo].Token
	if bearer == "" {
		return // a certificate of somebody's own
	}
	c, err := readClaims(bearer)
	end := time.Unix(c.Expires, 0)
	switch {
	case err != nil:
		k.report.add(Note, about, "how long they are good for is not known: "+err.Error(), again)
	case c.left(k.Now) == 0:
		k.report.add(Fault, about, "its token expired "+end.UTC().Format(time.DateTime)+" UTC, so the cluster is not watched", again)
	case c.left(k.Now) < 0.25:
		k.report.add(Fault, about, fmt.Sprintf("its token expires in %s and was not renewed", end.Sub(k.Now).Round(time.Minute)), again+"; and see why: kubectl --context "+k.host.Name+" -n "+k.Namespace+" logs statefulset/meridiand")
	default:
		k.report.add(Fine, about, fmt.Sprintf("good for %s, and renewed before", end.Sub(k.Now).Round(time.Minute)), "")
	}
}

// delegated asks the world's DNS whether a zone is delegated to its name servers.
func (k *check) delegated(ctx context.Context, o *unstructured.Unstructured) {
	if k.Lookup == nil {
		return
	}
	domain, _, _ := unstructured.NestedString(o.Object, "spec", "domain")
	if domain == "" {
		domain = o.GetName()
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "spec", "nameservers")
	var want []string
	for _, n := range list {
		if m, ok := n.(map[string]any); ok {
			want = append(want, strings.ToLower(strings.TrimSuffix(text(m, "name"), ".")))
		}
	}
	about := "Delegation of " + domain
	remedy := fmt.Sprintf("at the provider of the domain above it, set its NS records to %s", strings.Join(want, ", "))
	answer, err := k.Lookup(ctx, domain)
	if err != nil {
		k.report.add(Fault, about, fmt.Sprintf("the world's DNS knows no name servers of it: %v", err), remedy)
		return
	}
	var got []string
	for _, ns := range answer {
		got = append(got, strings.ToLower(strings.TrimSuffix(ns.Host, ".")))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		k.report.add(Fault, about, fmt.Sprintf("its name servers are %s in the world, and %s in Zone %s", strings.Join(got, ", "), strings.Join(want, ", "), o.GetName()), remedy)
		return
	}
	k.report.add(Fine, about, "its name servers are "+strings.Join(got, ", "), "")
}

// LookupNS asks the resolver of this machine.
func LookupNS(ctx context.Context, domain string) ([]*net.NS, error) {
	return net.DefaultResolver.LookupNS(ctx, domain)
}
