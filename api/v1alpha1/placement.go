package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Placement says where plain objects of its namespace are to be, for those that are
// written as they are and not wrapped into a FederatedObject. Of several Placements
// that select an object the eldest counts.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,categories=meridian,shortName=mpl
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Kinds",type=string,JSONPath=`.spec.objects[*].kind`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.spread.mode`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Placement struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec PlacementSpec `json:"spec"`
	// +optional
	Status Status `json:"status,omitempty"`
}

// PlacementSpec selects objects and says where they are to be.
type PlacementSpec struct {
	// Objects that it is about. One that fits any of the entries is selected.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Objects []ObjectSelector `json:"objects"`
	Terms   `json:",inline"`
}

// ObjectSelector selects objects; all that it says must hold.
type ObjectSelector struct {
	// APIVersion of the objects ("apps/v1").
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	APIVersion string `json:"apiVersion"`
	// Kind of the objects ("Deployment").
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	Kind string `json:"kind"`
	// Name of the one object that is meant. Default: all of the kind.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Selector over the objects' labels. Default: whatever labels they have.
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`
}

// PlacementList is a list of placements.
//
// +kubebuilder:object:root=true
type PlacementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Placement `json:"items"`
}
