package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func base(server, cluster, user string) string {
	return `apiVersion: v1
kind: Config
current-context: eu
contexts: [{name: eu, context: {cluster: eu, user: m}}]
clusters:
- name: eu
  cluster:
    server: ` + server + "\n    " + cluster + `
users:
- name: m
  user:
    ` + user + "\n"
}

// issued is a certificate with its key, base64 encoded as kubeconfigs carry them.
func issued(t testing.TB) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", private)
}

func TestParse(t *testing.T) {
	cert, key := issued(t)
	for name, text := range map[string]string{
		"token":       base("https://203.0.113.7:6443", "certificate-authority-data: "+cert, "token: abc.def"),
		"certificate": base("https://203.0.113.7:6443", "certificate-authority-data: "+cert, "client-certificate-data: "+cert+"\n    client-key-data: "+key),
		"name":        base("https://Api.eu.example.com", "certificate-authority-data: "+cert, "token: abc"),
		"path":        base("https://rancher.example.com/k8s/clusters/c-1", "tls-server-name: kubernetes", "token: abc"),
		"private":     base("https://10.0.0.1:443", "", "token: abc"),
		"IPv6":        base("https://[2001:db8::1]:6443", "", "token: abc"),
	} {
		cfg, err := Parse([]byte(text), Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if cfg.QPS == 0 || cfg.UserAgent == "" || cfg.Dial == nil {
			t.Errorf("%s: %v is not tuned", name, cfg)
		}
		if _, err := Client(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, server := range []string{"https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:1"} {
		if _, err := Parse([]byte(base(server, "", "token: abc")), Options{Loopback: true}); err != nil {
			t.Errorf("a lab may have %s: %v", server, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	cert, key := issued(t)
	_, otherKey := issued(t)
	const good = "https://203.0.113.7:6443"
	for says, text := range map[string]string{
		"users[].user.exec: is refused":                base(good, "", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, interactiveMode: Never}"),
		"users[].user.auth-provider: is refused":       base(good, "", "auth-provider: {name: gcp}"),
		"users[].user.tokenFile: is refused":           base(good, "", "tokenFile: /etc/shadow"),
		"users[].user.client-certificate: is refused":  base(good, "", "client-certificate: /a"),
		"users[].user.client-key: is refused":          base(good, "", "client-key: /a"),
		"users[].user.username: is refused":            base(good, "", "username: a"),
		"users[].user.as: is refused":                  base(good, "", "as: admin\n    token: s3cret"),
		"cluster.certificate-authority: is refused":    base(good, "certificate-authority: /a", "token: s3cret"),
		"cluster.proxy-url: is refused":                base(good, "proxy-url: http://evil.example.com", "token: s3cret"),
		"cluster.insecure-skip-tls-verify: is refused": base(good, "insecure-skip-tls-verify: true", "token: s3cret"),
		"is not https":                                     base("http://203.0.113.7", "", "token: s3cret"),
		"is no URL of an API server":                       base("203.0.113.7", "", "token: s3cret"),
		"has a user, query or fragment":                    base("https://a:b@203.0.113.7", "", "token: s3cret"),
		"is loopback":                                      base("https://127.0.0.1", "", "token: s3cret"),
		"which is this machine":                            base("https://LOCALHOST.", "", "token: s3cret"),
		"refused as link-local":                            base("https://169.254.169.254", "", "token: s3cret"),
		"refused as cloud metadata":                        base("https://[fd00:ec2::254]", "", "token: s3cret"),
		"refused as unspecified":                           base("https://0.0.0.0", "", "token: s3cret"),
		"not a host name":                                  base("https://a_b", "", "token: s3cret"),
		"neither a token nor a client certificate":         base(good, "", "client-certificate-data: \"\""),
		"both a token and a client certificate":            base(good, "", "token: s3cret\n    client-certificate-data: "+cert+"\n    client-key-data: "+key),
		"is no certificate with its key":                   base(good, "", "client-certificate-data: "+cert+"\n    client-key-data: "+otherKey),
		"is no bearer token":                               base(good, "", `token: "s3cret\nHost: x"`),
		"holds no certificate in PEM":                      base(good, "certificate-authority-data: YWJj", "token: s3cret"),
		"tls-server-name":                                  base(good, "tls-server-name: a_b", "token: s3cret"),
		"is empty":                                         "\n",
		"no valid YAML":                                    "{",
		"current-context: is missing":                      "apiVersion: v1\nkind: Config\n",
		"is not among the contexts":                        "apiVersion: v1\nkind: Config\ncurrent-context: eu\n",
		"names the cluster \"eu\", which is not there":     "apiVersion: v1\nkind: Config\ncurrent-context: eu\ncontexts: [{name: eu, context: {cluster: eu, user: m}}]\n",
		"names the user \"m\", which is not there; add it": "apiVersion: v1\nkind: Config\ncurrent-context: eu\ncontexts: [{name: eu, context: {cluster: eu, user: m}}]\nclusters: [{name: eu, cluster: {}}]\n",
		"at most 262144 are read":                          base(good, "# "+strings.Repeat("x", maxSize), "token: s3cret"),
		"more than 100 contexts":                           manyUsers(),
	} {
		_, err := Parse([]byte(text), Options{})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v, want one sentence with %q and no secret", err, says)
		}
	}
}

func manyUsers() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Config\ncurrent-context: eu\nusers:\n")
	for i := range maxNames + 1 {
		fmt.Fprintf(&b, "- {name: u%d, user: {}}\n", i)
	}
	return b.String()
}

// A name may lead anywhere, and what it leads to is judged when it is dialled.
func TestDialLooksAtTheAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if _, err := dialer(Options{})(t.Context(), "tcp", "localhost:"+port); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("%v, want a refusal", err)
	}
	c, err := dialer(Options{Loopback: true})(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestClientFollowsNoRedirect(t *testing.T) {
	cfg, err := Parse([]byte(base("https://203.0.113.7", "", "token: abc")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckRedirect(nil, nil); !errors.Is(err, http.ErrUseLastResponse) {
		t.Errorf("%v", err)
	}
}

// Whatever somebody writes, it is refused in one sentence or leads to https with
// inline credentials only.
func FuzzParse(f *testing.F) {
	cert, key := issued(f)
	f.Add([]byte(base("https://203.0.113.7:6443", "certificate-authority-data: "+cert, "token: abc")))
	f.Add([]byte(base("https://a.example.com", "", "client-certificate-data: "+cert+"\n    client-key-data: "+key)))
	f.Add([]byte(base("https://127.0.0.1", "proxy-url: a", "exec: {command: a}")))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Config","current-context":"a","contexts":[{"name":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse(data, Options{})
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q is not one sentence", err)
			}
			return
		}
		if !strings.HasPrefix(cfg.Host, "https://") || cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.Proxy != nil ||
			cfg.Insecure || cfg.BearerTokenFile != "" || cfg.CertFile != "" || cfg.KeyFile != "" || cfg.CAFile != "" ||
			cfg.Username != "" || cfg.Impersonate.UserName != "" || cfg.BearerToken == "" && len(cfg.CertData) == 0 {
			t.Errorf("%+v was let in", cfg)
		}
	})
}
