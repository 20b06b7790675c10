package stage

import (
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/trust"
)

// home is the namespace of an installation.
const home = "meridian-system"

// Identity writes an identity to a folder as a mounted Secret has it, and says whose it
// is. It is the one that the data of a Secret names by "<name>.crt" and "<name>.key".
func (s *Stage) Identity(dir string, data map[string][]byte, name string) trust.Identity {
	s.t.Helper()
	p := trust.PEM{Certificate: data[name+".crt"], Key: data[name+".key"], Bundle: data["ca.crt"]}
	papers, err := trust.ParsePapers(p, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := trust.WritePEM(dir, p); err != nil {
		s.t.Fatal(err)
	}
	return papers.Identity()
}

// Account writes a kubeconfig of the account that the chart gives to the daemon, and says
// where it lies.
func (s *Stage) Account(c *cluster.Cluster, client kubernetes.Interface, dir string) string {
	s.t.Helper()
	token, err := client.CoreV1().ServiceAccounts(home).CreateToken(s.Ctx, "meridiand", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	cfg, err := c.KubeconfigWithToken("meridiand", token.Status.Token)
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}
