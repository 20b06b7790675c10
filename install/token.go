package install

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfigKey is the key of a Secret under which a kubeconfig lies.
const kubeconfigKey = "kubeconfig"

// The lives of members' tokens. API servers refuse shorter ones, and may shorten
// longer ones.
const (
	DefaultTokenLifetime  = 7 * 24 * time.Hour
	ShortestTokenLifetime = 10 * time.Minute
)

// claims are what a token says of itself. Nobody has checked them; an API server
// will.
type claims struct {
	Issued  int64 `json:"iat"`
	Expires int64 `json:"exp"`
}

// readClaims reads a token of a service account without verifying it.
func readClaims(token string) (claims, error) {
	parts := strings.Split(token, ".")
	var c claims
	if len(parts) != 3 {
		return c, errors.New("it is no token of a service account")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &c) != nil || c.Expires == 0 {
		return c, errors.New("it is no token of a service account that says when it expires")
	}
	return c, nil
}

// left is the share of a token's life that is before it; 0 when it has expired.
func (c claims) left(now time.Time) float64 {
	return max(0, float64(c.Expires-now.Unix())/max(1, float64(c.Expires-c.Issued)))
}

// issueToken asks the member for a token of its account.
func (r *Reach) issueToken(ctx context.Context, namespace string, lifetime time.Duration) (string, error) {
	seconds := int64(lifetime / time.Second)
	answer, err := r.kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, memberAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return "", r.explain(fmt.Sprintf("asking for a token of ServiceAccount %s/%s", namespace, memberAccount), err)
	}
	return answer.Status.Token, nil
}

// writeKubeconfig writes what a host may be given: where the server is and who we
// are, inline. Equal words give equal bytes.
func writeKubeconfig(member, server string, ca []byte, token string) ([]byte, error) {
	b, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{member: {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{memberAccount: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{member: {Cluster: member, AuthInfo: memberAccount}},
		CurrentContext: member,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %s: %w", member, err)
	}
	return b, nil
}

// stillGood reports whether a Secret's kubeconfig leads to the same server by the
// same authority, with more than half of its token's life before it.
func stillGood(s *corev1.Secret, server string, ca []byte, now time.Time) bool {
	if s == nil {
		return false
	}
	cfg, err := bearer(s.Data[kubeconfigKey])
	if err != nil || cfg.Host != server || !bytes.Equal(cfg.CAData, ca) {
		return false
	}
	c, err := readClaims(cfg.BearerToken)
	return err == nil && c.left(now) > 0.5
}

// try uses credentials as the host will.
func (r *Reach) try(ctx context.Context, kubeconfig []byte) error {
	cfg, err := bearer(kubeconfig)
	if err != nil {
		return err
	}
	as, err := NewReach(r.Name, cfg)
	if err != nil {
		return err
	}
	_, err = as.kube.CoreV1().Services("").List(ctx, metav1.ListOptions{Limit: 1})
	return as.explain("trying the new credentials at "+cfg.Host, err)
}
