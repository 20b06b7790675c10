package install

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// oldest is the oldest Kubernetes that members may run: 1.30.
const oldest = 30

// version asks the server for its version and refuses what is too old.
func (r *Reach) version() error {
	v, err := r.kube.Discovery().ServerVersion()
	if err != nil {
		return r.explain("asking for the version", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err == nil && v.Major == "1" && minor < oldest {
		return fmt.Errorf("%s runs Kubernetes %s, and at least 1.%d is needed; upgrade it", r.Name, v.GitVersion, oldest)
	}
	return nil
}

// site reads where a cluster stands from its nodes. That one may not list them is
// said in it, so that it is told together with all else that is missing.
func (r *Reach) site(ctx context.Context) (Site, error) {
	nodes, err := r.nodes(ctx)
	if apierrors.IsForbidden(err) {
		return Site{Hidden: true}, nil
	}
	return ReadSite(nodes), err
}

// nodes lists the nodes, all of them.
func (r *Reach) nodes(ctx context.Context) ([]corev1.Node, error) {
	var out []corev1.Node
	o := metav1.ListOptions{Limit: 500}
	for {
		list, err := r.kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return nil, r.explain("listing nodes", err)
		}
		out = append(out, list.Items...)
		if o.Continue = list.Continue; o.Continue == "" {
			return out, nil
		}
	}
}
