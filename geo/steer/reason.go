package steer

// ReasonCode is a stable word for one cause.
type ReasonCode string

// The reasons. Those from ReasonNoEndpoints to ReasonUnreachable refuse a
// region; the others say why an eligible one stands where it stands.
const (
	ReasonNoEndpoints ReasonCode = "NoReadyEndpoints"
	ReasonUnhealthy   ReasonCode = "Unhealthy"
	ReasonDraining    ReasonCode = "Draining"
	ReasonResidency   ReasonCode = "Residency"
	ReasonIsolated    ReasonCode = "Isolated"
	ReasonUnreachable ReasonCode = "Unreachable" // no gateway to enter by
	ReasonNotServed   ReasonCode = "NotServed"   // the region lacks one of the host's services

	ReasonLocal    ReasonCode = "Local"
	ReasonNearest  ReasonCode = "Nearest"
	ReasonDistance ReasonCode = "Distance"
	ReasonMeasured ReasonCode = "Measured"
	ReasonWeight   ReasonCode = "Weight"
	ReasonOperator ReasonCode = "OperatorOrder"
	ReasonUnknown  ReasonCode = "HealthUnknown"
	ReasonStale    ReasonCode = "Stale" // endpoints as last told; their source has lost touch
	ReasonPanic    ReasonCode = "Panic"
	ReasonTie      ReasonCode = "Tie" // equal cost, decided by hash of the names
)
