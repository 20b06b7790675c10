package placement

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// divisible are the kinds of Kubernetes itself whose replicas can be divided.
var divisible = map[string]bool{
	"apps/Deployment": true, "apps/ReplicaSet": true, "apps/StatefulSet": true, "/ReplicationController": true,
	"batch/Job": true, "autoscaling/HorizontalPodAutoscaler": true,
}

// Divisible reports whether an object has replicas that can be divided. Of kinds that
// Kubernetes does not know, those have whose spec says how many.
func Divisible(o *unstructured.Unstructured) bool {
	gvk := o.GroupVersionKind()
	if Builtin(gvk.Group) {
		return divisible[gvk.Group+"/"+gvk.Kind]
	}
	_, found, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
	return found && err == nil
}

// DefaultMode is how an object is spread whose author does not say. The pods of a
// StatefulSet have names and volumes of their own, so it is divided on request only.
func DefaultMode(o *unstructured.Unstructured) Mode {
	if !Divisible(o) || Builtin(o.GroupVersionKind().Group) && o.GetKind() == "StatefulSet" {
		return ModeDuplicate
	}
	return ModeDivide
}

// Builtin reports whether an API group is one of Kubernetes' own.
func Builtin(group string) bool {
	return !strings.Contains(group, ".") || wellKnown[group]
}

// wellKnown are Kubernetes' own groups among those that end in k8s.io, where CRDs
// live too.
var wellKnown = map[string]bool{
	"admissionregistration.k8s.io": true, "apiextensions.k8s.io": true, "apiregistration.k8s.io": true,
	"authentication.k8s.io": true, "authorization.k8s.io": true, "certificates.k8s.io": true, "coordination.k8s.io": true,
	"discovery.k8s.io": true, "events.k8s.io": true, "flowcontrol.apiserver.k8s.io": true, "internal.apiserver.k8s.io": true,
	"networking.k8s.io": true, "node.k8s.io": true, "rbac.authorization.k8s.io": true, "resource.k8s.io": true,
	"scheduling.k8s.io": true, "storage.k8s.io": true, "storagemigration.k8s.io": true,
}

// ClusterScoped reports whether a kind of Kubernetes itself has no namespaces. Of
// other kinds only an API server knows.
func ClusterScoped(group, kind string) bool {
	return clusterScoped[group+"/"+kind]
}

var clusterScoped = map[string]bool{
	"/ComponentStatus": true, "/Namespace": true, "/Node": true, "/PersistentVolume": true,
	"admissionregistration.k8s.io/MutatingAdmissionPolicy": true, "admissionregistration.k8s.io/MutatingAdmissionPolicyBinding": true,
	"admissionregistration.k8s.io/MutatingWebhookConfiguration": true, "admissionregistration.k8s.io/ValidatingAdmissionPolicy": true,
	"admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding": true, "admissionregistration.k8s.io/ValidatingWebhookConfiguration": true,
	"apiextensions.k8s.io/CustomResourceDefinition": true, "apiregistration.k8s.io/APIService": true,
	"certificates.k8s.io/CertificateSigningRequest": true, "certificates.k8s.io/ClusterTrustBundle": true,
	"flowcontrol.apiserver.k8s.io/FlowSchema": true, "flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration": true,
	"networking.k8s.io/IPAddress": true, "networking.k8s.io/IngressClass": true, "networking.k8s.io/ServiceCIDR": true,
	"node.k8s.io/RuntimeClass": true, "rbac.authorization.k8s.io/ClusterRole": true, "rbac.authorization.k8s.io/ClusterRoleBinding": true,
	"resource.k8s.io/DeviceClass": true, "resource.k8s.io/ResourceSlice": true, "scheduling.k8s.io/PriorityClass": true,
	"storage.k8s.io/CSIDriver": true, "storage.k8s.io/CSINode": true, "storage.k8s.io/StorageClass": true,
	"storage.k8s.io/VolumeAttachment": true, "storage.k8s.io/VolumeAttributesClass": true,
}
