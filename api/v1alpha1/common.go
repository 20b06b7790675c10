package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HostNamespace is the namespace of the installation itself: a TrafficPolicy in
// it that names no target holds for every service of every namespace.
const HostNamespace = "meridian-system"

// What the daemons themselves make in the namespace of their installation.
const (
	LedgerName     = "meridian-hosts"     // ConfigMap: since when hosts are claimed
	LeaseName      = "meridian-status"    // Lease: who of them writes status
	WorkloadsLease = "meridian-placement" // Lease: who of them carries workloads out
)

// HostCluster is the name that objects of the installation itself carry in
// place of a cluster's, so no cluster may have it.
const HostCluster = "host"

// Duration is a length of time as Go writes it: "30s", "1m30s", "500ms".
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`
type Duration string

// Decimal is a decimal number as a string, since floating point numbers do not
// survive every client of an API server unchanged: "50.45", "-3". In files, where
// nobody stands between, a number without quotes is taken too.
//
// +kubebuilder:validation:MaxLength=24
// +kubebuilder:validation:Pattern=`^[-+]?[0-9]{1,3}(\.[0-9]{1,18})?$`
type Decimal string

// UnmarshalJSON takes a string or a number.
func (d *Decimal) UnmarshalJSON(data []byte) error { return unmarshalNumber(data, d, "50.45") }

// Rate is a number of something per second, like a Kubernetes quantity: 250,
// "1.5k", "2M". It is not read as a quantity, since a few letters of one
// ("1e-999999999") keep its parser busy for minutes.
//
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:MaxLength=24
// +kubebuilder:validation:Pattern=`^[0-9]{1,12}(\.[0-9]{1,6})?[kMG]?$`
// +kubebuilder:validation:XValidation:rule="type(self) == int ? int(self) > 0 && int(self) <= 1000000000000 : [double(string(self).find('^[0-9.]+')) * (string(self).endsWith('k') ? 1000.0 : string(self).endsWith('M') ? 1000000.0 : string(self).endsWith('G') ? 1000000000.0 : 1.0)].all(r, r > 0.0 && r <= 1000000000000.0)",message="must lie above 0 and be at most 1e12; leave it out for unlimited, or set draining to send nothing"
type Rate string

// UnmarshalJSON takes a string or a number.
func (r *Rate) UnmarshalJSON(data []byte) error { return unmarshalNumber(data, r, "1.5k") }

// unmarshalNumber keeps what is written, in quotes or not, to be parsed later.
func unmarshalNumber[T ~string](data []byte, into *T, example string) error {
	data = bytes.TrimSpace(data)
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*into = T(s)
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("%.32s is no number; write one like %q", data, example)
	}
	*into = T(n)
	return nil
}

// Address is an IP address that traffic may be sent to: no name, and none that is
// unspecified, multicast, link-local, reserved, or a cloud's metadata service. What
// of that takes a parser of addresses is left to Parse.
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:Pattern=`^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:([0-9A-Fa-f.]*))$`
// +kubebuilder:validation:XValidation:rule="!self.matches('^(0\\\\.|22[4-9]\\\\.|2[3-5][0-9]\\\\.|169\\\\.254\\\\.|[0:]+$|[fF][eE][89abAB][0-9a-fA-F]:|[fF][fF][0-9a-fA-F][0-9a-fA-F]:)')",message="the address is unspecified, multicast, link-local or reserved; write one that others can reach"
// +kubebuilder:validation:XValidation:rule="!(self in ['168.63.129.16', '100.100.100.200', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254'])",message="the address is a cloud's metadata service; write one that others can reach"
type Address string

// Prefix is a prefix of addresses, not of length 0.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:Pattern=`^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}/([1-9]|[12][0-9]|3[0-2])|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:([0-9A-Fa-f.]*)/([1-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))$`
// +kubebuilder:validation:XValidation:rule="!self.lowerAscii().startsWith('::ffff:')",message="the prefix is IPv4 in IPv6 clothes; write it as an IPv4 prefix"
type Prefix string

// Status says what became of an object.
type Status struct {
	// Generation of the object that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions of the object, one of each type.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of conditions.
const (
	// ConditionAccepted is true when the object is understood and in force, and
	// false when it is not; then the last good version stays in force.
	ConditionAccepted = "Accepted"
	// ConditionResolved is true when everything that the object names exists
	// and no part of it was left out.
	ConditionResolved = "ResolvedRefs"
	// ConditionReachable of a Cluster is true while somebody is in touch with its
	// API server. While it is false, what the cluster last said stays in force.
	ConditionReachable = "Reachable"
)
