package v1alpha1

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WorkloadStatus says what became of an object in its clusters.
type WorkloadStatus struct {
	Status `json:",inline"`
	// Desired replicas of all clusters together; of an object without replicas the
	// number of clusters that should have it.
	// +optional
	Desired int64 `json:"desired"`
	// Ready ones of them.
	// +optional
	Ready int64 `json:"ready"`
	// Unschedulable ones of them: no node of their cluster has room.
	// +optional
	Unschedulable int64 `json:"unschedulable"`
	// Succeeded pods of a Job, of all clusters together.
	// +optional
	Succeeded int64 `json:"succeeded,omitempty"`
	// InClusters is for people: "clusters that have it as it is wanted/clusters that
	// should".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	InClusters string `json:"inClusters,omitempty"`
	// Clusters that have the object or should, sorted by name.
	// +optional
	// +listType=map
	// +listMapKey=cluster
	// +kubebuilder:validation:MaxItems=1024
	Clusters []ClusterWorkload `json:"clusters,omitempty"`
	// Memory is what the planner keeps to itself. Its form may change.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Memory *Opaque `json:"memory,omitempty"`
}

// ClusterWorkload says what became of an object in one cluster.
type ClusterWorkload struct {
	// Cluster by name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Cluster string `json:"cluster"`
	// AppliedGeneration is that of this object which the cluster was last given; 0:
	// none yet.
	// +optional
	AppliedGeneration int64 `json:"appliedGeneration,omitempty"`
	// Desired replicas.
	// +optional
	Desired int64 `json:"desired"`
	// Ready replicas.
	// +optional
	Ready int64 `json:"ready"`
	// Unschedulable replicas: no node has room for them.
	// +optional
	Unschedulable int64 `json:"unschedulable,omitempty"`
	// Succeeded pods of a Job there, those of Jobs that are gone included.
	// +optional
	Succeeded int64 `json:"succeeded,omitempty"`
	// State in one word: Applied, Waiting, Conflict, Refused, Unreachable or Leaving.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	State WorkloadState `json:"state,omitempty"`
	// Reason for the state, in one word.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// Message says why and what helps.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
	// Time since which the state is what it is.
	// +optional
	Time *metav1.Time `json:"time,omitempty"`
}

// WorkloadState is how it stands with an object in one cluster.
type WorkloadState string

// The words of ClusterWorkload.State. Which there are may grow.
const (
	WorkloadApplied     WorkloadState = "Applied"     // it is as it is wanted
	WorkloadWaiting     WorkloadState = "Waiting"     // for something else to come first
	WorkloadConflict    WorkloadState = "Conflict"    // an object of its name was there before
	WorkloadRefused     WorkloadState = "Refused"     // the cluster does not take it
	WorkloadUnreachable WorkloadState = "Unreachable" // the cluster does not answer
	WorkloadLeaving     WorkloadState = "Leaving"     // it is to go, once it is ready elsewhere
)

// The types of conditions of a FederatedObject, besides ConditionAccepted.
const (
	// ConditionPlaced is true when every cluster that should has been given the
	// object as it is now.
	ConditionPlaced = "Placed"
	// ConditionReady is true when as many replicas are ready as are desired.
	ConditionReady = "Ready"
	// ConditionConflict is true while a cluster has an object of this kind and name
	// that is not ours. It stays as it is.
	ConditionConflict = "Conflict"
)

// Bounds of a status, so that the largest template and a status over 1,024 clusters
// together stay below what an API server stores.
const (
	MaxWorkloadMessage = 256      // characters of ClusterWorkload.Message
	MaxMemory          = 96 << 10 // bytes of WorkloadStatus.Memory
)

// Remember keeps what a planner learned. What is too large is not kept.
func (s *WorkloadStatus) Remember(learned any) error {
	raw, err := json.Marshal(learned)
	if err != nil {
		return fmt.Errorf("writing down what was learned: %w", err)
	}
	if len(raw) > MaxMemory {
		return fmt.Errorf("what was learned has %d bytes and at most %d are kept; learn less", len(raw), MaxMemory)
	}
	s.Memory = &Opaque{Raw: raw}
	return nil
}

// Recall reads what a planner learned; nothing learned leaves into as it is. Whoever
// may write a status may have written anything: an error means to begin anew.
func (s *WorkloadStatus) Recall(into any) error {
	if s.Memory == nil || len(s.Memory.Raw) == 0 {
		return nil
	}
	if len(s.Memory.Raw) > MaxMemory {
		return fmt.Errorf("status.memory has %d bytes and at most %d are read; it is begun anew", len(s.Memory.Raw), MaxMemory)
	}
	if err := json.Unmarshal(s.Memory.Raw, into); err != nil {
		return fmt.Errorf("status.memory cannot be read and is begun anew: %w", err)
	}
	return nil
}
