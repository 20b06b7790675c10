package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// thoughts are what was last decided of each workload, for people who ask. Only the
// replica that writes has any; what others know stands in the objects' status.
type thoughts struct {
	mu sync.Mutex
	of map[types.UID]thought
}

// thought is one decision.
type thought struct {
	seen, again time.Time
	unplaced    int64
	counts      bool // the workload has copies
	orders      map[string]order
}

func (ts *thoughts) keep(w *workload, o outlook, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.of == nil {
		ts.of = map[types.UID]thought{}
	}
	ts.of[w.object.UID] = thought{seen: now, again: o.again, unplaced: o.unplaced, counts: o.counts, orders: o.orders}
}

func (ts *thoughts) forget(uid types.UID) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.of, uid)
}

// resign forgets everything: another replica decides now.
func (ts *thoughts) resign() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.of = nil
}

func (ts *thoughts) get(uid types.UID) (thought, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t, ok := ts.of[uid]
	return t, ok
}

// errHostUnread is why nothing can be said of workloads yet.
var errHostUnread = errors.New("the FederatedObjects of the host cluster have not been read yet; ask again in a moment, and see whether its API server answers if it stays so")

// Workloads are all FederatedObjects as they fare, in no order. It may be called from
// many goroutines.
func (a *Applier) Workloads() ([]placement.Report, error) {
	if !a.desk.stock.ready() {
		return nil, errHostUnread
	}
	var list []placement.Report
	for _, l := range a.desk.stock.all() {
		list = append(list, a.report(l))
	}
	return list, nil
}

// Spread is how one of them fares; false: there is none of that name. It may be
// called from many goroutines.
func (a *Applier) Spread(namespace, name string) (placement.Report, bool, error) {
	if !a.desk.stock.ready() {
		return placement.Report{}, false, errHostUnread
	}
	l := a.desk.stock.get(types.NamespacedName{Namespace: namespace, Name: name})
	if l == nil {
		return placement.Report{}, false, nil
	}
	return a.report(l), true, nil
}

// report is what an object's status says, and beside it what was decided here.
func (a *Applier) report(l *live) placement.Report {
	data, err := json.Marshal(l.object.Object)
	o := &v1alpha1.FederatedObject{}
	if err == nil {
		err = json.Unmarshal(data, o)
	}
	if err != nil {
		return placement.Report{Namespace: l.object.GetNamespace(), Name: l.object.GetName(), Unplaced: -1,
			State: "NotAccepted", Reason: placement.ReasonInvalid, Message: fmt.Sprintf("it cannot be read: %s", oneLine(err.Error()))}
	}
	r := o.Report()
	t, ok := a.thoughts.get(o.UID)
	if !ok {
		return r
	}
	r.Seen, r.Again = t.seen, t.again
	if t.counts {
		r.Unplaced = t.unplaced
	}
	for i := range r.Clusters {
		c := &r.Clusters[i]
		ord, ok := t.orders[c.Cluster]
		if !ok {
			continue
		}
		if t.counts {
			c.Goal = ord.goal
		}
		c.Reasons = slices.Clone(ord.reasons)
	}
	return r
}
