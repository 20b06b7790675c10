package kube

import (
	"maps"

	"k8s.io/client-go/rest"
)

// Reach is how the API server of a member is reached, for those who have more to do
// there than to watch.
type Reach struct {
	Config *rest.Config // of credentials that were checked; nil while they cannot be read
	Token  string       // tells one Reach from another
}

// reach tells how members are reached, if that is news. What cannot be read now stays
// as it was.
func (i *Installation) reach(members map[string]*access) {
	if i.cfg.Reach == nil {
		return
	}
	now := make(map[string]Reach, len(members))
	same := i.reached != nil && len(members) == len(i.reached)
	for name, a := range members {
		before, there := i.reached[name]
		now[name] = before
		if a != nil && a.config != nil {
			now[name] = Reach{Config: a.config, Token: a.token}
		}
		same = same && there && before.Token == now[name].Token
	}
	if same {
		return
	}
	i.reached = now
	i.cfg.Reach(maps.Clone(now))
}
