package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// annotationUID says which cluster a Secret's credentials lead to, by the UID of its
// namespace kube-system, which stays when addresses and authorities change.
const annotationUID = "meridian.dev/cluster-uid"

// uid is that of a cluster; empty when it does not say.
func (r *Reach) uid(ctx context.Context) string {
	ns, err := r.kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return string(ns.UID)
}

// same refuses a context that leads to another cluster than the member of that name.
// Where the one or the other has no UID to tell, it is one with another address and
// another authority than the host's credentials have: either of the two may change in
// a cluster's life. Without credentials there is nothing to compare.
func (r *Reach) same(ctx context.Context, host *Reach, namespace, member string) error {
	found, err := host.existing(ctx, namespace, secretName(member))
	if err != nil {
		return err
	}
	s := found[secretName(member)]
	if s == nil {
		return nil
	}
	ca, err := r.authority()
	if err != nil {
		return err
	}
	known, err := bearer(s.Data[kubeconfigKey])
	if err != nil {
		known = &rest.Config{} // what cannot be read says nothing of whose it was
	}
	was, is := s.Annotations[annotationUID], r.uid(ctx)
	switch {
	case was != "" && is != "":
		if was == is {
			return nil
		}
		return fmt.Errorf("context %s leads to %s, and the member %s is another cluster (its kube-system has the UID %s, and there it is %s); give the context of that one, or let %s go first with \"meridian unjoin %s --force --host-context %s\"",
			r.Name, r.Config.Host, member, was, is, member, member, host.Name)
	case known.Host == "", known.Host == r.Config.Host, bytes.Equal(known.CAData, ca):
		return nil
	}
	return fmt.Errorf("context %s leads to %s, and the member %s is another cluster (%s, with another authority); give the context of that one, or let %s go first with \"meridian unjoin %s --force --host-context %s\"",
		r.Name, r.Config.Host, member, known.Host, member, member, host.Name)
}

// askingMember is how long a member may take to say who it is.
const askingMember = 3 * time.Second

// twice says in a sentence that a cluster is a member under another name already, so
// that its services would be counted twice; empty: it is not.
func (j *Joining) twice(ctx context.Context, member, host *Reach) (string, error) {
	other, err := member.knownAs(ctx, host, j.Namespace, j.Name)
	if err != nil || other == "" {
		return "", err
	}
	return fmt.Sprintf("context %s leads to the cluster that is the member %s already, and its services would be counted twice; run \"meridian join %s --context %s --host-context %s\" to change what is known of it, or \"meridian unjoin %s --context %s --host-context %s\" before it joins by another name",
		member.Name, other, other, member.Name, host.Name, other, member.Name, host.Name), nil
}

// knownAs is the name by which a cluster is a member, if it is another than the one
// that is meant; empty: it is not.
func (r *Reach) knownAs(ctx context.Context, host *Reach, namespace, meant string) (string, error) {
	list, err := host.dynamic.Resource(clustersResource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil // nor is the CRD
	}
	if err != nil {
		return "", host.explain("listing Clusters", err)
	}
	is := r.uid(ctx)
	own := "" // the name of the host as a member by its own rights
	if rec, err := host.record(ctx, namespace); err == nil && rec != nil && is != "" && is == host.uid(ctx) {
		own, _, _ = unstructured.NestedString(rec.values, "meridiand", "member")
	}
	for _, c := range list.Items {
		ref, _, _ := unstructured.NestedString(c.Object, "spec", "credentialsRef", "name")
		switch {
		case c.GetName() == meant:
		case ref == "":
			if c.GetName() == own {
				return own, nil
			}
		default:
			found, err := host.existing(ctx, namespace, ref)
			if err != nil {
				return "", err
			}
			if found[ref] != nil && r.is(ctx, is, found[ref]) {
				return c.GetName(), nil
			}
		}
	}
	return "", nil
}

// is reports whether a Secret's credentials lead to this cluster: by the UID that it
// names or that its cluster says, and else by its address and authority.
func (r *Reach) is(ctx context.Context, uid string, s *corev1.Secret) bool {
	if was := s.Annotations[annotationUID]; was != "" && uid != "" {
		return was == uid
	}
	cfg, err := bearer(s.Data[kubeconfigKey])
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askingMember)
	defer cancel()
	if other, err := NewReach(r.Name, cfg); err == nil && uid != "" {
		if was := other.uid(ctx); was != "" {
			return was == uid
		}
	}
	ca, err := r.authority()
	return err == nil && cfg.Host == r.Config.Host && bytes.Equal(cfg.CAData, ca)
}

// bearer is what a Secret's kubeconfig says inline: where the server is, whom to
// trust and who we are. Programs, files and proxies that it names are not used: who
// can write the Secret shall neither run nor read anything here.
func bearer(kubeconfig []byte) (*rest.Config, error) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, err
	}
	chosen := cfg.Contexts[cfg.CurrentContext]
	if chosen == nil || cfg.Clusters[chosen.Cluster] == nil || cfg.AuthInfos[chosen.AuthInfo] == nil {
		return nil, errors.New("the kubeconfig chooses no cluster and user")
	}
	server, who := cfg.Clusters[chosen.Cluster], cfg.AuthInfos[chosen.AuthInfo]
	return &rest.Config{Host: server.Server, BearerToken: who.Token, TLSClientConfig: rest.TLSClientConfig{
		CAData: server.CertificateAuthorityData, ServerName: server.TLSServerName, CertData: who.ClientCertificateData, KeyData: who.ClientKeyData,
	}}, nil
}
