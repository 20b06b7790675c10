package cluster

import (
	"bytes"
	"fmt"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const adminFile = "admin.kubeconfig"

// Kubeconfig is the admin's, complete in itself: the certificates are in it.
func (c *Cluster) Kubeconfig() []byte { return bytes.Clone(c.admin) }

// KubeconfigFile is where the admin's kubeconfig lies, for kubectl.
func (c *Cluster) KubeconfigFile() string { return c.file(adminFile) }

// REST is how the admin reaches the API server. It does not limit the rate of
// requests. The caller may change it.
func (c *Cluster) REST() *rest.Config { return rest.CopyConfig(c.rest) }

// KubeconfigFor makes a kubeconfig for a user of this name in these groups, whose
// rights are what RBAC says of them.
func (c *Cluster) KubeconfigFor(user string, groups ...string) ([]byte, error) {
	own, err := c.ca.client(user, groups...)
	if err != nil {
		return nil, err
	}
	return c.kubeconfig(user, &clientcmdapi.AuthInfo{ClientCertificateData: own.cert, ClientKeyData: own.key})
}

// KubeconfigWithToken makes a kubeconfig that bears a token, one of TokenRequest
// for example.
func (c *Cluster) KubeconfigWithToken(user, token string) ([]byte, error) {
	return c.kubeconfig(user, &clientcmdapi.AuthInfo{Token: token})
}

func (c *Cluster) kubeconfig(user string, who *clientcmdapi.AuthInfo) ([]byte, error) {
	name := c.cfg.Name
	written, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   "https://" + c.Addr().String(),
			CertificateAuthorityData: slices.Clone(c.ca.pem),
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: who},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: user}},
		CurrentContext: name,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of %s: %w", user, err)
	}
	return written, nil
}

func restFrom(kubeconfig []byte) (*rest.Config, error) {
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	return cfg, nil
}
