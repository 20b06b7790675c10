package v1alpha1

// Terms say where an object is to be, with how many replicas in each cluster, and
// what differs there.
type Terms struct {
	// Where says which clusters are meant. Default: all.
	// +optional
	Where *Where `json:"where,omitempty"`
	// Spread says how replicas are divided over these clusters.
	// +optional
	Spread *Spread `json:"spread,omitempty"`
	// Overrides are what certain clusters are given otherwise; later ones on top of
	// earlier ones.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Overrides []Override `json:"overrides,omitempty"`
	// Follow says: the ConfigMaps, Secrets, ServiceAccounts and
	// PersistentVolumeClaims that the object names go along. Default: false.
	// +optional
	Follow bool `json:"follow,omitempty"`
	// Adopt says: an object of this kind and name that a cluster has already is
	// taken over. Default: false; then it stays as it is, and is a conflict.
	// +optional
	Adopt bool `json:"adopt,omitempty"`
	// Deletion says what becomes of the clusters' objects when this one is deleted:
	// they are deleted too (Delete), or stay (Orphan). Default: Delete.
	// +optional
	// +kubebuilder:default=Delete
	Deletion Deletion `json:"deletion,omitempty"`
	// ServiceAccountName is the ServiceAccount of this object's namespace on behalf of
	// which it is carried out: the host cluster is asked whether this account may write
	// the object in this namespace, and each cluster is written to in its name. Who
	// writes it here needs the verb impersonate on it. Default: what "meridian init
	// --workloads-as" says, else the rights that the clusters gave to their host.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
}

// Deletion is what becomes of clusters' objects.
//
// +kubebuilder:validation:Enum=Delete;Orphan
type Deletion string

// The words of Terms.Deletion.
const (
	DeletionDelete Deletion = "Delete"
	DeletionOrphan Deletion = "Orphan"
)

// LetGoAnnotation is "true" on a FederatedObject that is being deleted and does not
// wait for clusters that do not answer, or refuse. They keep what they have. Written on a plain
// object of a dedicated API it means that object's.
const LetGoAnnotation = "meridian.dev/let-go"

// ReasonDeleting is why a workload that is being deleted is not placed any more.
const ReasonDeleting = "Deleting"

// Where says which clusters are meant; all that it says must hold.
type Where struct {
	// Clusters by name. Default: any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	Clusters []ClusterName `json:"clusters,omitempty"`
	// Regions that they stand in. Default: any.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Regions []RegionName `json:"regions,omitempty"`
	// Selector over the labels of the Cluster objects. Default: any.
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`
}

// ClusterName names a Cluster.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type ClusterName string

// LabelSelector is that of Kubernetes; all that it says must hold.
type LabelSelector struct {
	// MatchLabels are labels that must be there, with these values.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`
	// MatchExpressions are what must hold of labels besides.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type LabelValue string

// LabelRequirement is what must hold of one label.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="operators In and NotIn need values, Exists and DoesNotExist take none"
type LabelRequirement struct {
	// Key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key"`
	// Operator: the label has one of the values (In), has none of them (NotIn), is
	// there (Exists) or is not (DoesNotExist).
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator string `json:"operator"`
	// Values for In and NotIn.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// Spread says how replicas are divided over clusters.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'divide' || !has(self.limits) || size(self.limits) == 0 || self.limits.exists(l, !has(l.weight) || l.weight > 0 || (has(l.min) && l.min > 0))",message="nobody would get a replica: give at least one cluster a weight or a min above 0"
type Spread struct {
	// Mode: by weight (divide), by the room that clusters have (free), or as many
	// everywhere as the template says (duplicate). Default: divide for what has
	// replicas, like Deployments and Jobs; duplicate for StatefulSets, DaemonSets and
	// everything else.
	// +optional
	Mode Mode `json:"mode,omitempty"`
	// Rebalance says: replicas that run may move to where the weights want them.
	// Default: false; then they stay, and only what is new is divided.
	// +optional
	Rebalance bool `json:"rebalance,omitempty"`
	// Limits of clusters. A cluster that is not named here has those of "*", and no
	// replicas if "*" is not there either. Default: weight 1 for all.
	// +optional
	// +listType=map
	// +listMapKey=cluster
	// +kubebuilder:validation:MaxItems=1024
	Limits []Limit `json:"limits,omitempty"`
	// Grace is how long a cluster may be silent before its replicas are replaced
	// elsewhere, 10s to 168h. Default: 5m.
	// +optional
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('168h')",message="grace must lie between 10s and 168h"
	Grace Duration `json:"grace,omitempty"`
	// Budget is how many replicas may be on the move at one time. Default: a tenth
	// of them, at least one.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Budget *int64 `json:"budget,omitempty"`
}

// Mode is how replicas are divided over clusters.
//
// +kubebuilder:validation:Enum=divide;free;duplicate
type Mode string

// Limit is one cluster's part of a division.
//
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="min must not be above max"
type Limit struct {
	// Cluster by name, or "*" for all that are not named.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	Cluster string `json:"cluster"`
	// Weight among the clusters, 0 to 1000000; with 0 it gets its min only. Default: 1.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Weight *int64 `json:"weight,omitempty"`
	// Min is given first, as far as there are replicas. Default: 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Min *int64 `json:"min,omitempty"`
	// Max is never exceeded. Default: no bound.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Max *int64 `json:"max,omitempty"`
}
