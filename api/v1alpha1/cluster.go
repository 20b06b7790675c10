package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cluster is one member of the fleet: a Kubernetes cluster, or a plain site
// described in files. Its name is the name that services' endpoints are known by.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=meridian,shortName=mcl
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.spec.region`
// +kubebuilder:printcolumn:name="Health",type=string,JSONPath=`.status.health`
// +kubebuilder:printcolumn:name="Services",type=integer,JSONPath=`.status.services`
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=`.status.endpoints`
// +kubebuilder:printcolumn:name="Seen",type=date,JSONPath=`.status.lastSeen`
// +kubebuilder:printcolumn:name="Zone",type=string,JSONPath=`.spec.zone`,priority=1
// +kubebuilder:printcolumn:name="Gateways",type=string,JSONPath=`.spec.gateways[*].address`,priority=1
// +kubebuilder:printcolumn:name="Draining",type=boolean,JSONPath=`.spec.draining`,priority=1
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be a DNS label: lower-case letters, digits and '-', at most 63"
// +kubebuilder:validation:XValidation:rule="self.metadata.name != 'host'",message="\"host\" names the installation itself; choose another name"
type Cluster struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec ClusterSpec `json:"spec"`
	// +optional
	Status ClusterStatus `json:"status,omitempty"`
}

// ClusterStatus says what became of a cluster and what is seen of it.
type ClusterStatus struct {
	Status `json:",inline"`
	// Health in one word: Healthy, Unhealthy or Unknown are its gateways, as the
	// vantage points of all regions see them; Draining sends nothing new there;
	// Stale is what its API server last said.
	// +optional
	Health string `json:"health,omitempty"`
	// Services that it has and may serve.
	// +optional
	Services int32 `json:"services"`
	// ReadyEndpoints of all of them.
	// +optional
	ReadyEndpoints int32 `json:"readyEndpoints"`
	// TotalEndpoints of all of them, ready or not.
	// +optional
	TotalEndpoints int32 `json:"totalEndpoints"`
	// Endpoints is the same for people: "ready/total".
	// +optional
	Endpoints string `json:"endpoints,omitempty"`
	// LastSeen is when its API server last answered, to the minute while it does.
	// +optional
	LastSeen *metav1.Time `json:"lastSeen,omitempty"`
}

// The words of ClusterStatus.Health.
const (
	HealthHealthy   = "Healthy"
	HealthUnhealthy = "Unhealthy"
	HealthUnknown   = "Unknown"
	HealthDraining  = "Draining"
	HealthStale     = "Stale"
)

// ClusterSpec says where a cluster stands and how it is entered.
type ClusterSpec struct {
	// Region that the cluster stands in, in the words of its cloud or operator
	// ("europe-west1"). Clusters of one region are steered as one.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Region string `json:"region"`
	// Zone within the region, for clusters that stand in one only. Endpoints
	// that know their own zone keep it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
	Zone string `json:"zone,omitempty"`
	// Place on earth.
	// +required
	Place Place `json:"place"`
	// Network names the set of addresses that this cluster's endpoints belong
	// to. Clusters with the same network reach each other's endpoints directly;
	// all others pass the gateways. Default: the cluster's own name, so the
	// network is shared with nobody.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	Network string `json:"network,omitempty"`
	// Gateways are the front doors. A cluster without any cannot be entered from
	// outside its network.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, b.address == a.address && b.port == a.port))",message="two gateways have the same address and port; remove one of them"
	Gateways []Gateway `json:"gateways,omitempty"`
	// Capacity in requests per second. Default: unlimited.
	// +optional
	Capacity Rate `json:"capacity,omitempty"`
	// Draining says: send nothing new here. Default: false.
	// +optional
	Draining bool `json:"draining,omitempty"`
	// Taints keep workloads away; traffic stays as it is. The label
	// meridian.dev/taint with the value NoSchedule or NoExecute is one in short.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Taints []Taint `json:"taints,omitempty"`
	// ClientNetworks are address prefixes whose clients stand where this cluster
	// stands: its VPC, an office next to it. They win over every geo database.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="a prefix is named twice; remove one of them"
	ClientNetworks []Prefix `json:"clientNetworks,omitempty"`
	// EndpointNetworks are the address prefixes that this cluster's endpoints lie
	// in: its pods' and its nodes'. Endpoints elsewhere are dropped, so that a
	// cluster cannot draw traffic to what is not its own. Default: any address.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a == b))",message="a prefix is named twice; remove one of them"
	EndpointNetworks []Prefix `json:"endpointNetworks,omitempty"`
	// Namespaces whose services this cluster may serve; others of its services are
	// passed over. Default: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespaces []string `json:"namespaces,omitempty"`
	// CredentialsRef names the Secret, in the namespace of the installation, with
	// the kubeconfig by which this cluster's API server is watched (key
	// "kubeconfig"). Default: none; then the cluster is one that files describe.
	// +optional
	CredentialsRef *SecretRef `json:"credentialsRef,omitempty"`
}

// SecretRef names a Secret in the namespace of the installation.
type SecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`
	Name string `json:"name"`
}

// Place is a point on earth, in degrees.
//
// +kubebuilder:validation:XValidation:rule="double(self.lat) >= -90.0 && double(self.lat) <= 90.0",message="lat must lie between -90 and 90"
// +kubebuilder:validation:XValidation:rule="double(self.lon) >= -180.0 && double(self.lon) <= 180.0",message="lon must lie between -180 and 180"
// +kubebuilder:validation:XValidation:rule="double(self.lat) != 0.0 || double(self.lon) != 0.0",message="lat 0 and lon 0 lie in the Atlantic and stand for an unknown place; write where the cluster is"
type Place struct {
	// Latitude, -90 to 90, north positive.
	// +required
	Lat Decimal `json:"lat"`
	// Longitude, -180 to 180, east positive.
	// +required
	Lon Decimal `json:"lon"`
}

// Gateway is one front door: an Envoy, or a load balancer before several.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !has(self.relayPort) || self.port != self.relayPort",message="relayPort is the front port too; give the relay a port of its own, or 0 for none"
// +kubebuilder:validation:XValidation:rule="!has(self.tlsPort) || self.tlsPort == 0 || (!has(self.port) || self.tlsPort != self.port) && (!has(self.relayPort) || self.tlsPort != self.relayPort)",message="tlsPort is the port of another listener too; give each its own, or 0 for none"
type Gateway struct {
	// Address that resolvers answer with: IPv4 or IPv6, global or private.
	// +required
	Address Address `json:"address"`
	// Port of the HTTP front listener. Default: 80.
	// +optional
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`
	// TLSPort of the HTTPS front listener; 0: none. Default: 443, where that is
	// not another listener's.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	TLSPort *int32 `json:"tlsPort,omitempty"`
	// RelayPort is where other regions' gateways hand requests over; 0: nowhere.
	// Default: 15443.
	// +optional
	// +kubebuilder:default=15443
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	RelayPort *int32 `json:"relayPort,omitempty"`
}

// ClusterList is a list of clusters.
//
// +kubebuilder:object:root=true
type ClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Cluster `json:"items"`
}
