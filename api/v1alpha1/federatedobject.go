package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FederatedObject is one object of any kind that is to be in many clusters: what it
// is, where, with how many replicas in each, and what differs.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,categories=meridian,shortName=fo
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.template.kind`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desired`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Clusters",type=string,JSONPath=`.status.inClusters`
// +kubebuilder:printcolumn:name="Placed",type=string,JSONPath=`.status.conditions[?(@.type=="Placed")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Unschedulable",type=integer,JSONPath=`.status.unschedulable`,priority=1
// +kubebuilder:printcolumn:name="Why",type=string,JSONPath=`.status.conditions[?(@.type=="Placed")].message`,priority=1
type FederatedObject struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec FederatedObjectSpec `json:"spec"`
	// +optional
	Status WorkloadStatus `json:"status,omitempty"`
}

// FederatedObjectSpec says what is to be where.
//
// +kubebuilder:validation:XValidation:rule="self.template.kind == oldSelf.template.kind && (!has(self.template.metadata) || !has(oldSelf.template.metadata) || !has(self.template.metadata.name) || !has(oldSelf.template.metadata.name) || self.template.metadata.name == oldSelf.template.metadata.name)",message="the kind and the name of a template cannot change, since clusters hold an object of the old one; write a FederatedObject of another name, and delete this one when that one is placed"
type FederatedObjectSpec struct {
	// Template is the object, as it would be applied to one cluster: with
	// apiVersion, kind and metadata.name, without status and without what servers
	// set. Its namespace, if it is written at all, is that of this object.
	// +required
	// +kubebuilder:validation:EmbeddedResource
	// +kubebuilder:pruning:PreserveUnknownFields
	Template Template `json:"template"`
	Terms    `json:",inline"`
}

// Template is an object of any kind.
//
// +kubebuilder:validation:XValidation:rule="has(self.metadata) && has(self.metadata.name) && size(self.metadata.name) > 0",message="the template needs a metadata.name, which every cluster's object will have"
// +kubebuilder:validation:XValidation:rule="!has(self.metadata) || !has(self.metadata.generateName)",message="the template must not have a metadata.generateName, since every cluster would make up another name; write metadata.name"
// +kubebuilder:validation:XValidation:rule="!has(self.status)",message="the template must not have a status, which every cluster says of its own object; remove it, or let \"meridian federate\" do so"
// +kubebuilder:validation:XValidation:rule="!self.kind.endsWith('List') || self.apiVersion != 'v1'",message="the template is a list; write a FederatedObject for each object in it, as \"meridian federate\" does"
// +kubebuilder:validation:XValidation:rule="!self.apiVersion.startsWith('meridian.dev/')",message="the template is one of Meridian's own kinds, which belong in the host cluster only; apply it there as it is"
type Template struct {
	// Raw is the object as JSON.
	Raw []byte `json:"-"`
	// Status belongs to each cluster's own object, so it must not be here.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Status *Opaque `json:"status,omitempty"`
}

// FederatedObjectList is a list of federated objects.
//
// +kubebuilder:object:root=true
type FederatedObjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FederatedObject `json:"items"`
}
