package v1alpha1

// TaintLabel of a Cluster, with an effect as its value, is a taint in short.
const TaintLabel = "meridian.dev/taint"

// Taint keeps workloads away from a cluster. Its traffic stays as it is: that is
// what draining is for, which keeps workloads away too.
type Taint struct {
	// Key of the taint, like a label's ("example.com/maintenance").
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
	Key string `json:"key"`
	// Value, like a label's, for people. Default: none.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Value string `json:"value,omitempty"`
	// Effect: NoSchedule sends nothing new there, NoExecute moves away what is
	// there, once it is ready elsewhere.
	// +required
	Effect TaintEffect `json:"effect"`
}

// TaintEffect is what a taint does.
//
// +kubebuilder:validation:Enum=NoSchedule;NoExecute
type TaintEffect string
