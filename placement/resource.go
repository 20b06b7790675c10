package placement

import "k8s.io/apimachinery/pkg/runtime/schema"

// ResourceOf is the resource by which API servers know a namespaced kind of Kubernetes
// itself, as RBAC names it. Of other kinds only an API server knows. It is what the
// chart's files/kinds.yaml says, by which API servers judge who may federate what.
func ResourceOf(kind schema.GroupKind) (resource string, known bool) {
	resource, known = resources[kind.String()]
	return resource, known
}

var resources = map[string]string{
	"ConfigMap": "configmaps", "Endpoints": "endpoints", "Event": "events", "LimitRange": "limitranges",
	"PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods", "PodTemplate": "podtemplates",
	"ReplicationController": "replicationcontrollers", "ResourceQuota": "resourcequotas", "Secret": "secrets",
	"Service": "services", "ServiceAccount": "serviceaccounts",
	"ControllerRevision.apps": "controllerrevisions", "DaemonSet.apps": "daemonsets", "Deployment.apps": "deployments",
	"ReplicaSet.apps": "replicasets", "StatefulSet.apps": "statefulsets",
	"HorizontalPodAutoscaler.autoscaling": "horizontalpodautoscalers", "CronJob.batch": "cronjobs", "Job.batch": "jobs",
	"Lease.coordination.k8s.io": "leases", "EndpointSlice.discovery.k8s.io": "endpointslices", "Event.events.k8s.io": "events",
	"Ingress.networking.k8s.io": "ingresses", "NetworkPolicy.networking.k8s.io": "networkpolicies",
	"PodCertificateRequest.certificates.k8s.io": "podcertificaterequests", "PodDisruptionBudget.policy": "poddisruptionbudgets",
	"Role.rbac.authorization.k8s.io": "roles", "RoleBinding.rbac.authorization.k8s.io": "rolebindings",
	"ResourceClaim.resource.k8s.io": "resourceclaims", "ResourceClaimTemplate.resource.k8s.io": "resourceclaimtemplates",
	"CSIStorageCapacity.storage.k8s.io": "csistoragecapacities",
}
