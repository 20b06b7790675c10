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
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$')",message="the name must be a DNS name: labels of lower-case letters, digits and '-', at most 63 each, joined by dots"
// +kubebuilder:validation:XValidation:rule="[('.' + (has(self.spec.domain) && size(self.spec.domain) > 0 ? self.spec.domain : self.metadata.name).lowerAscii() + '.').replace('..', '.')].all(d, self.spec.nameservers.all(n, has(n.addresses) && size(n.addresses) > 0 || !('.' + n.name.lowerAscii() + '.').replace('..', '.').endsWith(d)))",message="a name server inside the zone needs an address, since nobody can find it without one"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.records) || [('.' + (has(self.spec.domain) && size(self.spec.domain) > 0 ? self.spec.domain : self.metadata.name).lowerAscii() + '.').replace('..', '.')].all(d, self.spec.records.all(r, !r.name.endsWith('.') || ('.' + r.name.lowerAscii()).endsWith(d)))",message="a record lies outside the zone; leave out the dot at the end of its name, or write it into its own zone"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.records) || [('.' + (has(self.spec.domain) && size(self.spec.domain) > 0 ? self.spec.domain : self.metadata.name).lowerAscii() + '.').replace('..', '.')].all(d, self.spec.records.all(r, !(r.type in ['NS', 'CNAME', 'DS']) || r.name != '@' && '.' + r.name.lowerAscii() != d))",message="the domain itself can have no NS, CNAME or DS record: NS are spec.nameservers, DS belong into the parent zone, and for a CNAME write A and AAAA records"
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
	// +kubebuilder:validation:Pattern=`^([A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?)?$`
	Domain string `json:"domain,omitempty"`
	// Nameservers of the zone: those that its parent delegates to.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=13
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, (b.name.lowerAscii() + '.').replace('..', '.') == (a.name.lowerAscii() + '.').replace('..', '.')))",message="a name server is named twice; remove one of them"
	Nameservers []Nameserver `json:"nameservers"`
	// Mailbox of whoever answers for the zone: hostmaster@example.com or, as SOA
	// writes it, hostmaster.example.com. Default: hostmaster at the domain.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^(([-A-Za-z0-9_.+]{1,63}@)?[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?)?$`
	Mailbox string `json:"mailbox,omitempty"`
	// TTL of NS, SOA and of records that say none, 1s to 168h, whole seconds.
	// Default: 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="ttl must lie between 1s and 168h"
	// +kubebuilder:validation:XValidation:rule="timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())",message="must be a whole number of seconds, since DNS counts in seconds"
	TTL Duration `json:"ttl,omitempty"`
	// NegativeTTL is how long resolvers keep a "no" (RFC 2308), 1s to 3h, whole
	// seconds. Default: 30s, so that a new host is seen soon.
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('3h')",message="negativeTTL must lie between 1s and 3h"
	// +kubebuilder:validation:XValidation:rule="timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())",message="must be a whole number of seconds, since DNS counts in seconds"
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
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?$`
	Name string `json:"name"`
	// Addresses of the server: its glue, needed when its name lies inside the zone.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Addresses []Address `json:"addresses,omitempty"`
}

// Record is one fixed resource record. Of its data the schema checks what is seen
// without reading a zone file's comments, brackets and escapes, and what a thousand
// records may cost.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'A' || self.data.matches('^[\\\\s\\\\d.]+$|[;()#]')",message="data is no IPv4 address; write one like 203.0.113.7"
// +kubebuilder:validation:XValidation:rule="self.type != 'AAAA' || self.data.contains(':') || self.data.matches('[;()#]')",message="data is no IPv6 address; write one like 2001:db8::7"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['CNAME', 'NS', 'PTR', 'MX', 'SRV']) || self.data.matches('[.][^.]|[;()#]') || self.type in ['MX', 'SRV'] && self.data.matches('\\\\s[.]')",message="names in data are absolute; write the whole name, like www.example.com"
type Record struct {
	// Name relative to the domain ("www", "*.apps"), "@" for the domain itself;
	// with a dot at its end it is absolute and must lie inside the domain.
	// +required
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^(@|\*|(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)*\.?)$`
	Name string `json:"name"`
	// Type of the record.
	// +required
	// +kubebuilder:validation:Enum=A;AAAA;CAA;CNAME;DS;HINFO;HTTPS;LOC;MX;NAPTR;NS;OPENPGPKEY;PTR;SMIMEA;SRV;SSHFP;SVCB;TLSA;TXT;URI
	Type string `json:"type"`
	// TTL, 1s to 168h, whole seconds. Default: the zone's.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="ttl must lie between 1s and 168h"
	// +kubebuilder:validation:XValidation:rule="timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())",message="must be a whole number of seconds, since DNS counts in seconds"
	TTL Duration `json:"ttl,omitempty"`
	// Data in presentation form (RFC 1035): 203.0.113.7, 10 mail.example.com,
	// "v=spf1 -all". Names in it are absolute, with or without the dot at their end.
	// +required
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^[^\x00-\x08\x0A-\x1F\x7F]*[^\x00-\x20\x7F][^\x00-\x08\x0A-\x1F\x7F]*$`
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
