package dns

import (
	"fmt"

	"github.com/meridian-lb/meridian/fleet"
)

// Reasons of problems that are found when names are put into zones.
const (
	ReasonRecordLeftOut    = "RecordLeftOut"    // a record that cannot be read or lies outside its zone
	ReasonRecordBesideHost = "RecordBesideHost" // a fixed address or alias at a name that is steered
	ReasonHostName         = "HostNotAName"     // a host that no question can ask for
	ReasonHostNameserver   = "HostIsNameserver" // a host that is a name server of its zone too
	ReasonHostDelegated    = "HostDelegated"    // a host that the zone has given to other name servers
)

// authorOf is the object that a host comes from; of several, the one whose route
// is the most specific.
func authorOf(h fleet.Host) fleet.Origin {
	if len(h.Routes) == 0 {
		return fleet.Origin{}
	}
	return h.Routes[0].Origin
}

func problem(about fleet.Origin, reason, format string, args ...any) fleet.Problem {
	return fleet.Problem{About: about, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
