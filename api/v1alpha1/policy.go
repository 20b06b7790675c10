package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TrafficPolicy says how traffic for services is steered. It holds for the
// services that it names, or for its whole namespace when it names none; in the
// namespace meridian-system, naming none, it holds for everything. The more
// specific policy wins.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Namespaced,categories=meridian,shortName=tp
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Strategy",type=string,JSONPath=`.spec.strategy`
// +kubebuilder:printcolumn:name="Services",type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name="Regions",type=string,JSONPath=`.spec.regions`,priority=1
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="the name must be a DNS name: labels of lower-case letters, digits and '-', at most 63 each, joined by dots"
type TrafficPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +optional
	Spec TrafficPolicySpec `json:"spec,omitempty"`
	// +optional
	Status Status `json:"status,omitempty"`
}

// TrafficPolicySpec is the order of regions and how it is found.
//
// +kubebuilder:validation:XValidation:rule="self.strategy != 'weighted' || (has(self.weights) && self.weights.exists(r, self.weights[r] > 0))",message="strategy weighted needs weights, and one of them above 0"
// +kubebuilder:validation:XValidation:rule="self.strategy != 'failover' || (has(self.order) && size(self.order) > 0)",message="strategy failover needs an order"
type TrafficPolicySpec struct {
	// TargetRefs are the services of this namespace that the policy holds for.
	// Default: all of them; in meridian-system: every service everywhere.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// Strategy is how regions are ordered for one who asks: latency (lowest round
	// trip first), geo (shortest distance first), weighted (clients divided by
	// weights), failover (the operator's order), isolated (the nearest region
	// that has the service, and no other). Default: latency.
	// +optional
	// +kubebuilder:default=latency
	Strategy Strategy `json:"strategy,omitempty"`
	// Regions is residency: the only regions that may serve, even when that means
	// serving nobody. Default: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Regions []RegionName `json:"regions,omitempty"`
	// Order of regions for strategy failover; regions that are not named come
	// last, by latency.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="a region is named twice; remove one of them"
	Order []RegionName `json:"order,omitempty"`
	// Weights of regions for strategy weighted. A region that is not named has
	// weight 0 and serves only when no weighted region can.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(r, size(r) <= 63 && r.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",message="a region's name must be a DNS label: lower-case letters, digits and '-', at most 63"
	Weights map[string]Weight `json:"weights,omitempty"`
	// TTL of DNS answers, 1s to 1h, whole seconds. Default: 30s.
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="ttl must lie between 1s and 1h"
	// +kubebuilder:validation:XValidation:rule="timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())",message="must be a whole number of seconds, since DNS counts in seconds"
	TTL Duration `json:"ttl,omitempty"`
	// Check is how gateways are probed. It is the gateways' affair, so it counts
	// in policies that hold for everything.
	// +optional
	Check *Check `json:"check,omitempty"`
}

// TargetRef names a service of the policy's namespace.
type TargetRef struct {
	// Kind of the target. Default and only choice: Service.
	// +optional
	// +kubebuilder:default=Service
	// +kubebuilder:validation:Enum=Service
	Kind string `json:"kind,omitempty"`
	// Name of the service.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
}

// RegionName is the name of a region.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
type RegionName string

// Strategy is how regions are ordered.
//
// +kubebuilder:validation:Enum=latency;geo;weighted;failover;isolated
type Strategy string

// Weight of a region among the others.
//
// +kubebuilder:validation:Minimum=0
// +kubebuilder:validation:Maximum=1000000
type Weight int32

// Check says how a gateway is probed and how many answers change the mind.
//
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || duration(self.timeout) <= duration(has(self.interval) ? self.interval : '2s')",message="timeout is longer than the interval, so probes would pile up; write a shorter one"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || size(self.path) == 0 || self.kind != 'tcp'",message="a tcp check only connects and has no path; remove it, or choose kind http"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || self.kind != 'grpc' || !self.path.startsWith('/')",message="for grpc path is the service's name, without a '/' before it"
// +kubebuilder:validation:XValidation:rule="!has(self.path) || size(self.path) == 0 || !(self.kind in ['http', 'https']) || self.path.startsWith('/')",message="path does not begin with '/'; put one before it"
type Check struct {
	// Kind of probe: http, https, tcp or grpc (grpc.health.v1). Default: http.
	// +optional
	// +kubebuilder:default=http
	// +kubebuilder:validation:Enum=http;https;tcp;grpc
	Kind string `json:"kind,omitempty"`
	// Host header and SNI. Default: the gateway's address.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*)?$`
	// +kubebuilder:validation:XValidation:rule="!self.matches('^(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\\\\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}$')",message="host is an address; write a host name, or leave it out"
	Host string `json:"host,omitempty"`
	// Path of http and https; for grpc the service's name, for tcp nothing.
	// Default for http and https: the gateway's own health path.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[!-~]*$`
	Path string `json:"path,omitempty"`
	// Interval between two probes, 500ms to 5m. Default: 2s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('500ms') && duration(self) <= duration('5m')",message="interval must lie between 500ms and 5m"
	Interval Duration `json:"interval,omitempty"`
	// Timeout of one probe, 10ms up to the interval. Default: 1s, or the interval
	// where that is shorter.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10ms') && duration(self) <= duration('5m')",message="timeout must lie between 10ms and 5m"
	Timeout Duration `json:"timeout,omitempty"`
	// Rise is how many good answers in a row make a gateway up. Default: 2.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	Rise *int32 `json:"rise,omitempty"`
	// Fall is how many bad answers in a row make a gateway down. Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=20
	Fall *int32 `json:"fall,omitempty"`
}

// TrafficPolicyList is a list of policies.
//
// +kubebuilder:object:root=true
type TrafficPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrafficPolicy `json:"items"`
}
