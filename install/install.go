// Package install puts Meridian into Kubernetes clusters, takes it out again, and says what is wrong with what is there.
//
// What a cluster is to hold is worked out first, as objects that can be printed as
// well as applied; applying twice changes nothing. The objects of a host cluster
// are those of the Helm chart, those of a member are made here.
package install

import "github.com/meridian-lb/meridian/api/v1alpha1"

// manager is whom server-side apply and labels name.
const manager = "meridian"

// Namespace is where everything is installed.
const Namespace = v1alpha1.HostNamespace

// The labels that this package puts on objects.
const (
	labelName      = "app.kubernetes.io/name"
	labelPartOf    = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	// labelMember names the member that a Secret's credentials are for.
	labelMember = "meridian.dev/member"
	// labelJoined marks a namespace that exists because its cluster was joined.
	labelJoined = "meridian.dev/joined"
)
