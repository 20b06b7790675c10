package fleet

import "cmp"

// Problem is a fault in somebody's object, as a value: objects' status, the
// command line and the web page are its readers. It never stops the object's
// neighbours.
type Problem struct {
	About   Origin
	Reason  string // one CamelCase word, stable: "HostConflict"
	Message string // one clear sentence with the remedy
}

// Compare orders problems by origin, reason, message.
func (p Problem) Compare(q Problem) int {
	return cmp.Or(cmp.Compare(p.About.Cluster, q.About.Cluster), p.About.Compare(q.About),
		cmp.Compare(p.Reason, q.Reason), cmp.Compare(p.Message, q.Message))
}
