package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and Version are those of every kind here.
const (
	Group   = "meridian.dev"
	Version = "v1alpha1"
)

// The kinds.
const (
	KindCluster         = "Cluster"
	KindFederatedObject = "FederatedObject"
	KindPlacement       = "Placement"
	KindTrafficPolicy   = "TrafficPolicy"
	KindZone            = "Zone"
)

// SchemeGroupVersion is the group and version of every kind here.
var SchemeGroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// Resource names a resource of the group ("clusters").
func Resource(plural string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(plural).GroupResource()
}

// AddToScheme teaches a scheme the kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(SchemeGroupVersion,
		&Cluster{}, &ClusterList{}, &TrafficPolicy{}, &TrafficPolicyList{}, &Zone{}, &ZoneList{},
		&FederatedObject{}, &FederatedObjectList{}, &Placement{}, &PlacementList{})
	metav1.AddToGroupVersion(s, SchemeGroupVersion)
	return nil
}
