// Package placement says which cluster runs how much of a workload, just what that
// cluster is given, and when a replica may move. It decides and carries nothing out.
package placement

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/fleet"
)

// Template is a workload as its author wrote it, read and checked: every field can
// be believed.
type Template struct {
	// Object is what every cluster is given, before overrides: with apiVersion,
	// kind, name and, unless its kind has none, namespace; without status and
	// without what servers set. It is never changed.
	Object    *unstructured.Unstructured
	Where     Where
	Spread    Spread
	Overrides []Override // later ones on top of earlier ones

	Follow bool // ConfigMaps, Secrets, ServiceAccounts and PersistentVolumeClaims that it names go along
	Adopt  bool // an object of its name that a cluster has already is taken over, and no conflict
	Orphan bool // the clusters keep their objects when the workload is deleted

	// Account is the ServiceAccount of the object's namespace on behalf of which it is
	// carried out, by its name alone; empty: nobody in particular.
	Account string

	Origin fleet.Origin
}

// Where says which clusters are meant. All that it names must hold; the zero Where
// means every cluster.
type Where struct {
	Clusters []string        // by name, sorted; empty: any
	Regions  []fleet.Region  // sorted; empty: any
	Labels   labels.Selector // of the Cluster objects; nil: any
}

// Mode is how replicas are divided over clusters.
type Mode string

// The modes.
const (
	ModeDivide    Mode = "divide"    // by weight
	ModeFree      Mode = "free"      // by the room that clusters have for such a pod
	ModeDuplicate Mode = "duplicate" // as many everywhere as the template says
)

// Spread says how a workload's replicas are divided.
type Spread struct {
	Mode      Mode
	Rebalance bool             // replicas that run may move to where the weights want them
	Limits    map[string]Limit // by cluster; of a cluster that is not named: Everywhere's, or none of the replicas if that is missing
	Grace     time.Duration    // that a silent cluster's replicas are waited for; default DefaultGrace
	Budget    int64            // replicas that may be on the move at one time; 0: a tenth, at least one
}

// Everywhere is the name in Spread.Limits that stands for clusters which are not named.
const Everywhere = "*"

// DefaultGrace is how long a cluster may be silent before its replicas are replaced.
const DefaultGrace = 5 * time.Minute

// Limit is one cluster's part of a division.
type Limit struct {
	Weight int64 // among its siblings; 0: only Min
	Min    int64 // given first, as far as there are replicas
	Max    int64 // never more; negative: no bound
}

// Override changes what certain clusters are given.
type Override struct {
	Where    Where
	Registry string                       // takes the place of all images' registries; empty: they stay
	Args     map[string][]string          // by container, in place of its own
	Env      map[string]map[string]string // by container, or Everywhere; added to its own or in their place
	Labels   map[string]string            // of the object and of its pods
	Patch    []byte                       // JSON patch (RFC 6902), applied after all others; nil: none
}

// Effect is what a taint does, in the words of Kubernetes' nodes.
type Effect string

// The effects. A cluster that drains or leaves counts as EffectNoExecute.
const (
	EffectNoSchedule Effect = "NoSchedule" // nothing new goes there
	EffectNoExecute  Effect = "NoExecute"  // what is there moves away first
)

// Cluster is a member as placement sees it.
type Cluster struct {
	Name   string
	Region fleet.Region
	Labels labels.Set // of its Cluster object
	Effect Effect     // the harder one of its taints; empty: none
	Why    string     // the taint, drain or departure behind Effect, in words
}
