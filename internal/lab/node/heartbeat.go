package node

import (
	"context"
	"maps"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	beatEvery  = 5 * time.Second
	leaseHolds = 40 // seconds, as a kubelet's
	leases     = corev1.NamespaceNodeLease
	version    = "v0.0.0-lab"
)

// beat tells the cluster over and over that this node is there, until ctx ends.
// An API server that does not answer changes nothing but the time of the next try.
func (n *Node) beat(ctx context.Context) error {
	well := true // the last beat was heard
	for again := time.Duration(0); pause(ctx, again); {
		err := n.beatOnce(ctx)
		again = beatEvery
		switch {
		case err != nil:
			again = retry
			if well && ctx.Err() == nil {
				n.log.Warn("telling the cluster of this node", "error", err)
			}
		case !well:
			n.log.Info("the cluster hears this node again")
		}
		well = err == nil
	}
	return nil
}

func (n *Node) beatOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	nodes := n.client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, n.cfg.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		node, err = nodes.Create(ctx, n.object(), metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if status := n.status(node); !n.knownWell(node) {
		node.Status = status
		if node, err = nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return n.renew(ctx, node)
}

// renew renews the lease by which the controllers see that the node lives.
func (n *Node) renew(ctx context.Context, node *corev1.Node) error {
	client := n.client.CoordinationV1().Leases(leases)
	lease, err := client.Get(ctx, n.cfg.Name, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	if missing {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: n.cfg.Name, Namespace: leases,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		}}
	}
	now, holds := metav1.NowMicro(), int32(leaseHolds)
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &n.cfg.Name, &holds, &now
	if missing {
		_, err = client.Create(ctx, lease, metav1.CreateOptions{})
	} else {
		_, err = client.Update(ctx, lease, metav1.UpdateOptions{})
	}
	return err
}

// object is the Node as it registers itself.
func (n *Node) object() *corev1.Node {
	labels := map[string]string{
		corev1.LabelHostname: n.cfg.Name, corev1.LabelOSStable: runtime.GOOS, corev1.LabelArchStable: runtime.GOARCH,
	}
	if n.cfg.Region != "" {
		labels[corev1.LabelTopologyRegion] = n.cfg.Region
	}
	if n.cfg.Zone != "" {
		labels[corev1.LabelTopologyZone] = n.cfg.Zone
	}
	maps.Copy(labels, n.cfg.Labels)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.cfg.Name, Labels: labels},
		Spec:       corev1.NodeSpec{PodCIDR: n.cfg.Pods.Masked().String(), PodCIDRs: []string{n.cfg.Pods.Masked().String()}},
	}
}

// knownWell reports whether the cluster knows the node, as ready and at its address.
func (n *Node) knownWell(node *corev1.Node) bool {
	ready, here := false, false
	for _, c := range node.Status.Conditions {
		ready = ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	for _, a := range node.Status.Addresses {
		here = here || a.Type == corev1.NodeInternalIP && a.Address == n.cfg.Addr.String()
	}
	return ready && here
}

func (n *Node) status(node *corev1.Node) corev1.NodeStatus {
	status := *node.Status.DeepCopy()
	now := metav1.Now()
	room := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("64"),
		corev1.ResourceMemory:           resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		corev1.ResourcePods:             *resource.NewQuantity(int64(n.cfg.Most), resource.DecimalSI),
	}
	status.Capacity, status.Allocatable = room, room
	status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: n.cfg.Addr.String()},
		{Type: corev1.NodeHostName, Address: n.cfg.Name},
	}
	status.DaemonEndpoints.KubeletEndpoint.Port = logPort
	status.NodeInfo.KubeletVersion, status.NodeInfo.ContainerRuntimeVersion = version, "lab://"+version
	status.NodeInfo.OperatingSystem, status.NodeInfo.Architecture = runtime.GOOS, runtime.GOARCH
	status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "LabNodeReady", Message: "the lab's node runs",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}
	for _, of := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{
			Type: of, Status: corev1.ConditionFalse, Reason: "LabNodeHasRoom", Message: "the lab does not count",
			LastHeartbeatTime: now, LastTransitionTime: now,
		})
	}
	return status
}
