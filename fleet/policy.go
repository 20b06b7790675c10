package fleet

import "time"

// Strategy is how regions are ordered for one who asks.
type Strategy string

// The strategies.
const (
	StrategyLatency  Strategy = "latency"  // lowest round trip first: measured, else estimated from distance
	StrategyGeo      Strategy = "geo"      // shortest distance first
	StrategyWeighted Strategy = "weighted" // clients divided over the regions by weight
	StrategyFailover Strategy = "failover" // the operator's order
	StrategyIsolated Strategy = "isolated" // the nearest region that has the service, and no other
)

// Policy says how traffic for a service is steered. The zero value of a field
// means its default; parsing has filled the defaults in.
type Policy struct {
	Strategy Strategy
	// Regions is residency: the only regions that may serve. Empty allows all.
	// It is harder than availability and holds in Panic too. Sorted.
	Regions []Region
	// Order is the operator's order for StrategyFailover; regions that are not
	// named come last, by latency.
	Order []Region
	// Weights divide StrategyWeighted; a region that is not named has weight 0
	// and serves only when no weighted region can.
	Weights map[Region]uint32
	TTL     time.Duration // of DNS answers, whole seconds
	Check   Check         // how gateways are probed
	Origin  Origin
}

// DefaultPolicy holds where no TrafficPolicy does.
func DefaultPolicy() Policy {
	return Policy{Strategy: StrategyLatency, TTL: 30 * time.Second, Check: DefaultCheck()}
}

// PolicyTarget says for which services a policy holds. The more specific target
// wins: service, then namespace, then everything.
type PolicyTarget struct {
	Namespace string // empty: every namespace
	Service   string // empty: every service of the namespace
}

// PolicyRule is a policy with what it holds for.
type PolicyRule struct {
	Policy  Policy
	Targets []PolicyTarget // never empty
}

// CheckKind is how a gateway is probed.
type CheckKind string

// The kinds of check.
const (
	CheckHTTP  CheckKind = "http"
	CheckHTTPS CheckKind = "https"
	CheckTCP   CheckKind = "tcp"
	CheckGRPC  CheckKind = "grpc" // grpc.health.v1
)

// Check says how a gateway is probed and how many answers change the mind.
type Check struct {
	Kind     CheckKind
	Host     string        // Host header and SNI; empty: the target's address
	Path     string        // of HTTP and HTTPS; for gRPC the service name
	Interval time.Duration // between two probes, before jitter
	Timeout  time.Duration // of one probe
	Rise     int           // good answers in a row that make it up
	Fall     int           // bad answers in a row that make it down
}

// GatewayHealthPath is answered by every Meridian gateway itself, on any host.
const GatewayHealthPath = "/.well-known/meridian/healthz"

// DefaultCheck probes the gateway's own health path every 2 s; 3 misses are
// down and 2 hits are up again.
func DefaultCheck() Check {
	return Check{Kind: CheckHTTP, Path: GatewayHealthPath, Interval: 2 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3}
}
