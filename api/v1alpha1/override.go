package v1alpha1

// Override changes what certain clusters are given.
//
// +kubebuilder:validation:XValidation:rule="has(self.registry) || has(self.args) || has(self.env) || has(self.labels) || has(self.patch)",message="the override changes nothing; give it registry, args, env, labels or patch"
type Override struct {
	// Where says which of the clusters are meant. Default: all.
	// +optional
	Where *Where `json:"where,omitempty"`
	// Registry takes the place of the registries of all images
	// ("registry.eu.example.com:5000/mirror").
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)*)?$`
	Registry string `json:"registry,omitempty"`
	// Args of containers, in place of their own.
	// +optional
	// +listType=map
	// +listMapKey=container
	// +kubebuilder:validation:MaxItems=32
	Args []ArgsOverride `json:"args,omitempty"`
	// Env of containers: added to their own, or in place of one of the same name.
	// +optional
	// +listType=map
	// +listMapKey=container
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Env []EnvOverride `json:"env,omitempty"`
	// Labels of the object and of its pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]LabelValue `json:"labels,omitempty"`
	// Patch of the object (JSON patch, RFC 6902), applied after all others.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Patch []PatchOperation `json:"patch,omitempty"`
}

// ArgsOverride are the arguments of a container.
type ArgsOverride struct {
	// Container by name.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Container string `json:"container"`
	// Args in place of its own.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=4096
	Args []string `json:"args"`
}

// EnvOverride is a variable of a container's environment.
type EnvOverride struct {
	// Container by name, or "*" for all. Default: all.
	// +optional
	// +kubebuilder:default="*"
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	Container string `json:"container,omitempty"`
	// Name of the variable.
	// +required
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[-._A-Za-z][-._A-Za-z0-9]*$`
	Name string `json:"name"`
	// Value of the variable. Default: empty.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// PatchOperation is one operation of a JSON patch (RFC 6902).
//
// +kubebuilder:validation:XValidation:rule="size(self.path) == 0 || self.path.startsWith('/')",message="path must be a JSON pointer, which begins with '/': /spec/replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.from) || size(self.from) == 0 || self.from.startsWith('/')",message="from must be a JSON pointer, which begins with '/': /spec/replicas"
// +kubebuilder:validation:XValidation:rule="(self.op in ['move', 'copy']) == has(self.from)",message="operations move and copy need a from, and no other takes one"
// +kubebuilder:validation:XValidation:rule="size(self.path) > 0 && !(self.path in ['/apiVersion', '/kind', '/metadata', '/metadata/name', '/metadata/namespace', '/status']) && !self.path.startsWith('/status/') || self.op == 'test'",message="a patch must not change what the object is: its apiVersion, kind, metadata as a whole, name, namespace or status; name a field below them"
type PatchOperation struct {
	// Op is what is done: add, remove, replace, move, copy or test.
	// +required
	// +kubebuilder:validation:Enum=add;remove;replace;move;copy;test
	Op string `json:"op"`
	// Path of the field, as a JSON pointer (RFC 6901): /spec/template/spec/nodeSelector.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
	// From is where move and copy take it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	From *string `json:"from,omitempty"`
	// Value for add, replace and test.
	// +optional
	// +nullable
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Value Opaque `json:"value,omitzero"`
}
