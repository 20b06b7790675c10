package placement

import "time"

// Report is how it stands with one workload over all its clusters, for people. It
// holds nothing of the template but what it is called, since that may be a Secret.
type Report struct {
	Namespace, Name  string // of the host's object
	APIVersion, Kind string // of what it places
	Object           string // its name
	Mode             Mode   // empty: the object cannot be read
	Generation       int64  // of the host's object as it is now
	Observed         int64  // that which this is about; an older one: what is new has not been looked at yet

	// Replicas of all clusters together; of what has none, the clusters that should
	// have the object, and those that have it as it is wanted.
	Desired, Ready int64
	Unschedulable  int64
	Unplaced       int64  // replicas that no cluster can take; negative: not known
	InClusters     string // "clusters that have it as it is wanted/clusters that should"

	State   string // the worst of all clusters', or Placed; in one word
	Reason  string // in one word
	Message string // why, and what helps

	Seen     time.Time // when this was found to be so; zero: not known
	Again    time.Time // when it is looked at again though nothing changes; zero: never, or not known
	Clusters []Holding // that have the object or should, sorted by cluster
}

// Holding is how it stands with a workload in one cluster.
type Holding struct {
	Cluster       string
	Goal          int64 // replicas when all moves are done; negative: not known, or none that could be counted
	Told          int64 // replicas that it is told to run now; negative: none that could be counted
	Ready         int64
	Unschedulable int64
	State         string // Applied, Waiting, Conflict, Refused, Unreachable or Leaving
	Reason        string // in one word
	Message       string // what keeps it from being as it is wanted, and what helps; may be empty
	Reasons       []string
	Since         time.Time // when its state became what it is; zero: not known
}
