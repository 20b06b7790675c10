package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// read takes from the daemons and gateways that run what their arguments say.
func (r *Reach) read(ctx context.Context, set *appsv1.StatefulSet) (*record, error) {
	daemon := map[string]any{"kube": false}
	values := map[string]any{"region": "", "meridiand": daemon}
	if set.Spec.Replicas != nil {
		daemon["replicas"] = int64(*set.Spec.Replicas)
	}
	var args []string
	for _, c := range set.Spec.Template.Spec.Containers {
		if c.Name == daemonAccount {
			args = c.Args
		}
	}
	var peers []any
	for _, arg := range args {
		flag, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		switch flag {
		case "region":
			values["region"] = value
		case "kube":
			daemon["kube"] = true
		case "member":
			daemon["member"] = value
		case "instance":
			if prefix := strings.TrimSuffix(value, ".$(POD_NAME)"); prefix != "" {
				daemon["instancePrefix"] = prefix
			}
		case "peer":
			if !strings.Contains(value, ".meridiand-peers.") { // those are of this region
				peers = append(peers, value)
			}
		}
	}
	if values["region"] == "" {
		return nil, fmt.Errorf("the StatefulSet %s/%s in %s names no region, so it is none of Meridian's; see what it is", set.Namespace, set.Name, r.Name)
	}
	if daemon["instancePrefix"] == values["region"] {
		delete(daemon, "instancePrefix")
	}
	if len(peers) > 0 {
		daemon["peers"] = peers
	}
	network, err := r.network(ctx, set.Namespace)
	if network != "" {
		values["network"] = network
	}
	return &record{values: values}, err
}

// network is the one that the gateways' bootstrap names; empty: none, or there is no bootstrap.
func (r *Reach) network(ctx context.Context, namespace string) (string, error) {
	list, err := r.kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager})
	if apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", r.explain("listing ConfigMaps", err)
	}
	for _, m := range list.Items {
		var bootstrap map[string]any
		if yaml.Unmarshal([]byte(m.Data["bootstrap.yaml"]), &bootstrap) != nil {
			continue
		}
		if network, _, _ := unstructured.NestedString(bootstrap, "node", "metadata", "network"); network != "" {
			return network, nil
		}
	}
	return "", nil
}

// follower reports whether daemons are installed that watch no objects here: those of
// another region, which follow the host cluster's. Who may not see them knows nothing.
func (r *Reach) follower(ctx context.Context, namespace string) bool {
	set, err := r.kube.AppsV1().StatefulSets(namespace).Get(ctx, daemonAccount, metav1.GetOptions{})
	return err == nil && follows(set)
}

func follows(set *appsv1.StatefulSet) bool {
	for _, c := range set.Spec.Template.Spec.Containers {
		if c.Name == daemonAccount {
			return !slices.ContainsFunc(c.Args, func(arg string) bool { return arg == "--kube" || strings.HasPrefix(arg, "--kubeconfig") })
		}
	}
	return false
}

// String is what was read, for people.
func (rec *record) String() string {
	text := fmt.Sprintf("region %v", rec.values["region"])
	if n, ok := rec.values["network"]; ok {
		text += fmt.Sprintf(", network %v", n)
	}
	replicas, _, _ := unstructured.NestedInt64(rec.values, "meridiand", "replicas")
	text += fmt.Sprintf(", %d daemons", replicas)
	if peers, found, _ := unstructured.NestedStringSlice(rec.values, "meridiand", "peers"); found {
		text += ", peers " + strings.Join(peers, " ")
	}
	if kube, _, _ := unstructured.NestedBool(rec.values, "meridiand", "kube"); !kube {
		text += ", under another installation's authority"
	}
	return text
}
