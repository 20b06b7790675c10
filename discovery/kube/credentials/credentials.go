// Package credentials reads the kubeconfig by which a member's API server is watched.
//
// Whoever may write it could otherwise have this process run programs, read its
// files or speak to services of its own machine, so a kubeconfig may say only
// where the server is and who we are, inline. Everything else is refused.
package credentials

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/api/field"
)

// SecretKey is the key of the Secret under which the kubeconfig lies.
const SecretKey = "kubeconfig"

// The bounds of one kubeconfig.
const (
	maxSize  = 256 << 10 // bytes
	maxToken = 16 << 10
	maxNames = 100 // contexts, clusters and users each
)

// remedy ends most refusals: the command writes a kubeconfig that passes.
const remedy = `write it with "meridian join"`

// Options allow what only a lab needs.
type Options struct {
	Loopback bool // servers on this machine
}

// Parse reads a kubeconfig: of its current context the server, the authority
// that it is trusted by, and a token or a client certificate. The error is one
// sentence that says what is refused and what to write instead; it never shows
// a secret.
func Parse(kubeconfig []byte, o Options) (*rest.Config, error) {
	if len(kubeconfig) > maxSize {
		return nil, fmt.Errorf("the kubeconfig has %d bytes, at most %d are read; leave out what is not the member's", len(kubeconfig), maxSize)
	}
	if len(bytes.TrimSpace(kubeconfig)) == 0 {
		return nil, errors.New("the kubeconfig is empty; " + remedy)
	}
	all, err := clientcmd.Load(kubeconfig)
	if err != nil { // its text may quote what stands there
		return nil, errors.New("the kubeconfig is no valid YAML of kind Config; " + remedy)
	}
	if max(len(all.Contexts), len(all.Clusters), len(all.AuthInfos)) > maxNames {
		return nil, fmt.Errorf("the kubeconfig has more than %d contexts, clusters or users; leave out what is not the member's", maxNames)
	}
	cluster, user, err := current(all)
	if err != nil {
		return nil, err
	}
	if err := plain(cluster, user); err != nil {
		return nil, err
	}
	host, err := server(cluster.Server, o)
	if err != nil {
		return nil, err
	}
	cfg := &rest.Config{Host: host, BearerToken: user.Token, TLSClientConfig: rest.TLSClientConfig{
		ServerName: cluster.TLSServerName,
		CAData:     cluster.CertificateAuthorityData,
		CertData:   user.ClientCertificateData,
		KeyData:    user.ClientKeyData,
	}}
	if err := secrets(cfg); err != nil {
		return nil, err
	}
	tune(cfg)
	cfg.Dial = dialer(o)
	return cfg, nil
}

// current finds what the current context names.
func current(all *clientcmdapi.Config) (*clientcmdapi.Cluster, *clientcmdapi.AuthInfo, error) {
	if all.CurrentContext == "" {
		return nil, nil, errors.New("current-context: is missing; name the context of the member")
	}
	c := all.Contexts[all.CurrentContext]
	if c == nil {
		return nil, nil, fmt.Errorf("current-context: %s is not among the contexts; name one that is", field.Quote(all.CurrentContext))
	}
	cluster, user := all.Clusters[c.Cluster], all.AuthInfos[c.AuthInfo]
	switch {
	case cluster == nil:
		return nil, nil, fmt.Errorf("the current context names the cluster %s, which is not there; add it", field.Quote(c.Cluster))
	case user == nil:
		return nil, nil, fmt.Errorf("the current context names the user %s, which is not there; add it", field.Quote(c.AuthInfo))
	}
	return cluster, user, nil
}

// plain refuses everything that is more than a server and inline credentials.
func plain(c *clientcmdapi.Cluster, u *clientcmdapi.AuthInfo) error {
	for _, f := range []struct {
		set  bool
		name string
		why  string
	}{
		{u.Exec != nil, "users[].user.exec", "would run a program here; write a token instead"},
		{u.AuthProvider != nil, "users[].user.auth-provider", "is a plugin; write a token instead"},
		{u.TokenFile != "", "users[].user.tokenFile", "is a path of another machine; write the token itself as token"},
		{u.ClientCertificate != "", "users[].user.client-certificate", "is a path of another machine; write client-certificate-data"},
		{u.ClientKey != "", "users[].user.client-key", "is a path of another machine; write client-key-data"},
		{u.Username != "" || u.Password != "", "users[].user.username", "is basic authentication, which API servers no longer take; write a token"},
		{u.Impersonate != "" || u.ImpersonateUID != "" || len(u.ImpersonateGroups) > 0 || len(u.ImpersonateUserExtra) > 0,
			"users[].user.as", "impersonates somebody; write the credentials of the member's own ServiceAccount"},
		{c.CertificateAuthority != "", "clusters[].cluster.certificate-authority", "is a path of another machine; write certificate-authority-data"},
		{c.ProxyURL != "", "clusters[].cluster.proxy-url", "would send everything through somebody else; write a server that is reached directly"},
		{c.InsecureSkipTLSVerify, "clusters[].cluster.insecure-skip-tls-verify", "trusts whoever answers; write certificate-authority-data instead"},
	} {
		if f.set {
			return fmt.Errorf("%s: is refused, since it %s", f.name, f.why)
		}
	}
	return nil
}

// server reads the URL of an API server. A name is looked up when it is dialled
// and judged then.
func server(text string, o Options) (string, error) {
	const path = "clusters[].cluster.server"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return "", fmt.Errorf("%s: %s is no URL of an API server; write one like https://203.0.113.7:6443", path, field.Quote(text))
	case u.Scheme != "https":
		return "", fmt.Errorf("%s: %s is not https, so credentials would travel in the open; write the https URL", path, field.Quote(text))
	case u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return "", fmt.Errorf("%s: has a user, query or fragment; write scheme, host, port and path only", path)
	}
	host := u.Hostname()
	if a, err := netip.ParseAddr(host); err == nil {
		if err := reachable(a, o); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	} else if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") && !o.Loopback {
		return "", fmt.Errorf("%s: %w", path, errLoopback)
	} else if err := field.Hostname(strings.TrimSuffix(strings.ToLower(host), "."), false); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return u.String(), nil
}

var errLoopback = errors.New("the address is loopback, which is this machine and not the member's; write one that is reached from here")

// reachable refuses addresses that no member's API server has.
func reachable(a netip.Addr, o Options) error {
	a = a.Unmap()
	if a.IsLoopback() && !o.Loopback {
		return errLoopback
	}
	_, err := field.Addr(a.String())
	return err
}

// secrets checks what we show and whom we trust.
func secrets(cfg *rest.Config) error {
	pair := len(cfg.CertData) > 0 || len(cfg.KeyData) > 0
	switch {
	case cfg.BearerToken == "" && !pair:
		return errors.New("users[].user: has neither a token nor a client certificate, so the API server would not know us; write one of them")
	case cfg.BearerToken != "" && pair:
		return errors.New("users[].user: has both a token and a client certificate; write one of them")
	case len(cfg.BearerToken) > maxToken || strings.ContainsFunc(cfg.BearerToken, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("users[].user.token: is no bearer token; write it without spaces or line breaks")
	}
	if pair {
		if _, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData); err != nil {
			return errors.New("users[].user.client-certificate-data: is no certificate with its key in PEM; write both, base64 encoded")
		}
	}
	if len(cfg.CAData) > 0 && !x509.NewCertPool().AppendCertsFromPEM(cfg.CAData) {
		return errors.New("clusters[].cluster.certificate-authority-data: holds no certificate in PEM; write the authority's certificate, base64 encoded")
	}
	if cfg.ServerName != "" {
		if err := field.Hostname(cfg.ServerName, false); err != nil {
			return fmt.Errorf("clusters[].cluster.tls-server-name: %w", err)
		}
	}
	return nil
}
