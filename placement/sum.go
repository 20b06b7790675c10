package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Told is the status of an object in one cluster.
type Told struct {
	Cluster string
	Status  map[string]any // never changed
}

// counters are the numbers in a kind's status that add up.
var counters = map[schema.GroupKind][]string{
	kindDeployment:            {"availableReplicas", "readyReplicas", "replicas", "terminatingReplicas", "unavailableReplicas", "updatedReplicas"},
	kindReplicaSet:            {"availableReplicas", "fullyLabeledReplicas", "readyReplicas", "replicas", "terminatingReplicas"},
	kindReplicationController: {"availableReplicas", "fullyLabeledReplicas", "readyReplicas", "replicas"},
	kindStatefulSet:           {"availableReplicas", "currentReplicas", "readyReplicas", "replicas", "updatedReplicas"},
	kindDaemonSet: {
		"currentNumberScheduled", "desiredNumberScheduled", "numberAvailable", "numberMisscheduled", "numberReady",
		"numberUnavailable", "updatedNumberScheduled",
	},
	kindJob:     {"active", "failed", "ready", "succeeded", "terminating"},
	kindHPA:     {"currentReplicas", "desiredReplicas"},
	kindCronJob: nil, // only what cronTimes tells
}

// gathering says how one type of condition is gathered from several clusters.
type gathering struct {
	name string
	any  bool // true somewhere is true; otherwise only true everywhere is
}

var gatherings = map[schema.GroupKind][]gathering{
	kindDeployment:            {{name: "Available"}, {name: "Progressing"}, {name: "ReplicaFailure", any: true}},
	kindReplicaSet:            {{name: "ReplicaFailure", any: true}},
	kindReplicationController: {{name: "ReplicaFailure", any: true}},
	kindJob:                   {{name: "Complete"}, {name: "Failed", any: true}, {name: "FailureTarget", any: true}, {name: "SuccessCriteriaMet"}, {name: "Suspended"}},
}

// Sum is the status that one big cluster would show in place of several: numbers
// are added, addresses united, conditions true where they are true everywhere, or
// anywhere if they speak of a failure. It is nil for a kind whose status does not
// add up. The order in which clusters are given does not matter. The generation
// that it was observed at is for the caller to add: each cluster has its own.
func Sum(kind schema.GroupKind, told []Told) map[string]any {
	told = slices.SortedFunc(slices.Values(told), func(a, b Told) int { return cmp.Compare(a.Cluster, b.Cluster) })
	switch kind {
	case kindService, kindIngress:
		return map[string]any{"loadBalancer": addresses(told)}
	}
	fields, known := counters[kind]
	if !known {
		return nil
	}
	status := map[string]any{}
	for _, field := range fields {
		sum, said := int64(0), false
		for _, t := range told {
			if n, ok := countAt(t.Status, field); ok {
				sum, said = plus(sum, max(0, n)), true
			}
		}
		if said {
			status[field] = sum
		}
	}
	var conditions []any
	for _, g := range gatherings[kind] {
		if c := g.gather(told); c != nil {
			conditions = append(conditions, c)
		}
	}
	if conditions != nil {
		status["conditions"] = conditions
	}
	switch kind {
	case kindJob:
		jobTimes(status, told)
	case kindCronJob:
		cronTimes(status, told)
	}
	return status
}

// gather makes one condition of those of all clusters; nil when nobody has it, or
// when not everybody does who would have to.
func (g gathering) gather(told []Told) map[string]any {
	var all, deciding []map[string]any
	var names []string // of those that decide
	state := "True"
	for _, t := range told {
		c := conditionOf(t.Status, g.name)
		if c == nil {
			continue
		}
		all = append(all, c)
		is := textAt(c, "status")
		if (is == "True") != g.any {
			continue
		}
		if !g.any && state != "False" {
			state = is // False is worse than Unknown
		}
		deciding, names = append(deciding, c), append(names, t.Cluster)
	}
	switch {
	case len(all) == 0, len(deciding) == 0 && !g.any && len(all) < len(told):
		return nil
	case len(deciding) == 0 && g.any:
		state = "False"
	}
	out := map[string]any{"type": g.name, "status": state}
	of := deciding
	if len(deciding) == 0 {
		of = all
	} else if message := textAt(deciding[0], "message"); message != "" {
		out["message"] = several(names) + ": " + message
	}
	if reason := textAt(of[0], "reason"); reason != "" {
		out["reason"] = reason
	}
	for _, field := range []string{"lastTransitionTime", "lastUpdateTime", "lastProbeTime"} {
		if last := latest(of, field); last != "" {
			out[field] = last
		}
	}
	return out
}

// several names the first three of some names.
func several(names []string) string {
	if more := len(names) - 3; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), more)
	}
	return strings.Join(names, ", ")
}

func conditionOf(status any, name string) map[string]any {
	for _, c := range listAt(status, "conditions") {
		if textAt(c, "type") == name {
			return mapAt(c)
		}
	}
	return nil
}

// latest is the latest of some times as API servers write them: in UTC and to the
// second, so that they sort as text.
func latest(of []map[string]any, field string) string {
	last := ""
	for _, c := range of {
		last = max(last, textAt(c, field))
	}
	return last
}

// jobTimes adds when the first part of a Job began and, if all are complete, when the
// last one was.
func jobTimes(status map[string]any, told []Told) {
	start, end, complete := "", "", len(told) > 0
	for _, t := range told {
		if s := textAt(t.Status, "startTime"); s != "" && (start == "" || s < start) {
			start = s
		}
		at := textAt(t.Status, "completionTime")
		end, complete = max(end, at), complete && at != ""
	}
	if start != "" {
		status["startTime"] = start
	}
	if complete {
		status["completionTime"] = end
	}
}

// cronTimes adds when a CronJob began or ended well last, anywhere, and the Jobs of it
// that run, which are named alike in all clusters.
func cronTimes(status map[string]any, told []Told) {
	var all []map[string]any
	running, seen := []any{}, map[string]bool{}
	for _, t := range told {
		all = append(all, t.Status)
		for _, a := range listAt(t.Status, "active") {
			if key := t.Cluster + "/" + textAt(a, "name"); !seen[key] {
				seen[key] = true
				running = append(running, copyOf(a))
			}
		}
	}
	for _, field := range []string{"lastScheduleTime", "lastSuccessfulTime"} {
		if at := latest(all, field); at != "" {
			status[field] = at
		}
	}
	if len(running) > 0 {
		status["active"] = running
	}
}

// addresses is the union of what load balancers answer at, each once.
func addresses(told []Told) map[string]any {
	type address struct{ ip, host string }
	found := map[address]map[string]any{}
	for _, t := range told {
		for _, i := range listAt(t.Status, "loadBalancer", "ingress") {
			a := address{textAt(i, "ip"), textAt(i, "hostname")}
			if a == (address{}) || found[a] != nil {
				continue
			}
			found[a] = map[string]any{}
			for _, field := range []string{"hostname", "ip", "ipMode"} {
				if s := textAt(i, field); s != "" {
					found[a][field] = s
				}
			}
			if ports := listAt(i, "ports"); ports != nil {
				found[a]["ports"] = copyOf(ports)
			}
		}
	}
	if len(found) == 0 {
		return map[string]any{}
	}
	union := make([]any, 0, len(found))
	for _, a := range slices.SortedFunc(maps.Keys(found), func(a, b address) int {
		return cmp.Or(cmp.Compare(a.ip, b.ip), cmp.Compare(a.host, b.host))
	}) {
		union = append(union, found[a])
	}
	return map[string]any{"ingress": union}
}
