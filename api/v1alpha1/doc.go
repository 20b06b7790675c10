// Package v1alpha1 holds Meridian's own Kubernetes kinds: Cluster, TrafficPolicy, Zone, FederatedObject and Placement, each with the Parse that makes an inner value of it.
//
// Parse is the door: what it returns cannot be wrong, and every default is
// filled in. It returns nil when the object says nothing usable; then what was
// known of the object before should stay in force. Problems beside a value are
// about parts that were left out or that do nothing. Parse trusts nobody: it
// checks again what the CRDs' schemas check, since files have no API server. The
// schemas say everything of it that they can within the costs that API servers allow,
// and with what Kubernetes 1.30 knows; discovery/kube holds the two against each other.
//
// +kubebuilder:object:generate=true
// +groupName=meridian.dev
package v1alpha1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=. crd paths=. output:crd:artifacts:config=../../deploy/crds
