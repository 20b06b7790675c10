package node

import (
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/internal/lab"
)

// inside starts a program that sees other files than everybody else where names are
// looked up.
const inside = `mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"`

// named has a container look names up as in a cluster: it asks the cluster's name server,
// and its pod is its localhost.
func (p *pod) named(object *corev1.Pod, c lab.Command) (lab.Command, error) {
	hosts, resolv := filepath.Join(p.volumes.dir, "hosts"), filepath.Join(p.volumes.dir, "resolv.conf")
	for file, text := range map[string]string{
		hosts:  fmt.Sprintf("%s localhost\n%[1]s %s\n", p.addr, object.Name),
		resolv: fmt.Sprintf("nameserver %s\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n", p.node.cfg.Names, object.Namespace),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return c, err
		}
	}
	c.Args = append([]string{"--mount", "--propagation", "private", "sh", "-c", inside, "sh", hosts, resolv, c.Path}, c.Args...)
	c.Path = "unshare"
	return c, nil
}
