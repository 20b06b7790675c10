package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Zone is a DNS zone that Meridian is authoritative for. Hosts of routes inside
// it are answered by steering, everything else from its records.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=meridian,shortName=mzone
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Domain",type=string,JSONPath=`.spec.domain`
// +kubebuilder:printcolumn:name="Nameservers",type=string,JSONPath=`.spec.nameservers[*].name`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Zone struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec ZoneSpec `json:"spec"`
	// +optional
	Status Status `json:"status,omitempty"`
}

// ZoneSpec is the zone's head and its fixed records.
type ZoneSpec struct {
	// Domain of the zone ("example.com"). Default: the object's name.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?\.?)*$`
	Domain string `json:"domain,omitempty"`
	// Nameservers of the zone: those that its parent delegates to.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=13
	Nameservers []Nameserver `json:"nameservers"`
	// Mailbox of whoever answers for the zone: hostmaster@example.com or, as SOA
	// writes it, hostmaster.example.com. Default: hostmaster at the domain.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Mailbox string `json:"mailbox,omitempty"`
	// TTL of NS, SOA and of records that say none, 1s to 168h, whole seconds.
	// Default: 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="ttl must lie between 1s and 168h"
	TTL Duration `json:"ttl,omitempty"`
	// NegativeTTL is how long resolvers keep a "no" (RFC 2308), 1s to 3h, whole
	// seconds. Default: 30s, so that a new host is seen soon.
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('3h')",message="negativeTTL must lie between 1s and 3h"
	NegativeTTL Duration `json:"negativeTTL,omitempty"`
	// Records are the fixed ones. SOA and the zone's own NS are made from the
	// fields above.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Records []Record `json:"records,omitempty"`
}

// Nameserver is a name server of a zone.
type Nameserver struct {
	// Name of the server, absolute, with or without the dot at its end.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	Name string `json:"name"`
	// Addresses of the server: its glue, needed when its name lies inside the zone.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=45
	Addresses []string `json:"addresses,omitempty"`
}

// Record is one fixed resource record.
type Record struct {
	// Name relative to the domain ("www", "*.apps"), "@" for the domain itself;
	// with a dot at its end it is absolute and must lie inside the domain.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	Name string `json:"name"`
	// Type of the record.
	// +required
	// +kubebuilder:validation:Enum=A;AAAA;CAA;CNAME;DS;HINFO;HTTPS;LOC;MX;NAPTR;NS;OPENPGPKEY;PTR;SMIMEA;SRV;SSHFP;SVCB;TLSA;TXT;URI
	Type string `json:"type"`
	// TTL, 1s to 168h, whole seconds. Default: the zone's.
	// +optional
	TTL Duration `json:"ttl,omitempty"`
	// Data in presentation form (RFC 1035): 203.0.113.7, 10 mail.example.com,
	// "v=spf1 -all". Names in it are absolute, with or without the dot at their end.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Data string `json:"data"`
}

// ZoneList is a list of zones.
//
// +kubebuilder:object:root=true
type ZoneList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Zone `json:"items"`
}
