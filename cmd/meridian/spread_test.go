package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/placement"
)

// clerk knows one workload, which is not as it should be everywhere.
type clerk struct{ fault error }

func (k clerk) report() placement.Report {
	return placement.Report{
		Namespace: "shop", Name: "deployment-web", APIVersion: "apps/v1", Kind: "Deployment", Object: "web", Mode: placement.ModeDivide,
		Generation: 3, Observed: 3, Desired: 10, Ready: 4, Unschedulable: 1, Unplaced: 2, InClusters: "1/2",
		State: "NotPlaced", Reason: "Unreachable", Message: "us-1: it does not answer\x1b[31m", Seen: time.Now(), Again: time.Now().Add(time.Hour),
		Clusters: []placement.Holding{
			{Cluster: "eu-1", Goal: 6, Told: 5, Ready: 4, Unschedulable: 1, State: "Applied", Reasons: []string{"5 that run there and stay", "1 by its weight of 1"}},
			{Cluster: "us-1", Goal: -1, Told: 4, State: "Unreachable", Reason: "Silent", Message: "it does not answer", Reasons: []string{"its 4 are waited for"}, Since: time.Now().Add(-time.Minute)},
		},
	}
}

func (k clerk) Workloads() ([]placement.Report, error) {
	return []placement.Report{k.report()}, k.fault
}

func (k clerk) Spread(namespace, name string) (placement.Report, bool, error) {
	return k.report(), namespace == "shop" && name == "deployment-web", k.fault
}

func TestSpread(t *testing.T) {
	server := aDaemonWith(t, func(c *admin.Config) { c.Workloads = clerk{} })
	for line, want := range map[string][]string{
		"get workloads":                         {"NAMESPACE  NAME            KIND        DESIRED  READY  CLUSTERS  STATE                    SEEN    WHY", "shop       deployment-web  Deployment  10       4      1/2       NotPlaced (Unreachable)", "it does not answer [31m"},
		"get workloads -n bank":                 {"No workloads."},
		"get workloads -A -o json":              {`"seenAgo"`, `"kind": "Deployment"`},
		"spread deployment-web -n shop":         {"Deployment shop/web (divide) in 1/2 clusters, 4 of 10 ready: NotPlaced (Unreachable)", "eu-1     6     5     4      1        Applied               -     5 that run there and stay; 1 by its weight of 1", "us-1     -     4     0      0        Unreachable (Silent)  1m0s  it does not answer; its 4 are waited for", "Without a place: 2", "Looked at again in 1h0m0s"},
		"spread deployment/web -n shop -o yaml": {"unplaced: \"2\"", "cluster: eu-1"},
		"__complete spread -n shop":             {"deployment-web"},
	} {
		args := append(strings.Fields(line), "--server", server)
		if strings.HasPrefix(line, "__complete") {
			args = append(args, "")
		}
		out, err := meridian(t, args...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", line, w, out)
			}
		}
		if strings.HasSuffix(line, "json") && !json.Valid([]byte(out)) {
			t.Errorf("%s: no JSON\n%s", line, out)
		}
		if strings.Contains(out, "\x1b") && !strings.Contains(line, "-o") {
			t.Errorf("%s steers the terminal: %q", line, out)
		}
	}
	for line, want := range map[string]string{
		"get workloads -A -n shop":           "leave one of the two out",
		"spread web -n shop":                 "their names begin with the kind: deployment-web",
		"spread deployment-web":              `in the namespace "default"`,
		"spread":                             "accepts 1 arg",
		"spread deployment-web --namespace=": "by the namespace and the name",
	} {
		if _, err := meridian(t, append(strings.Fields(line), "--server", server)...); err == nil || !strings.Contains(sentence(err), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// A daemon without a host cluster, and one that has not read it yet, say so.
func TestSpreadElsewhere(t *testing.T) {
	for want, change := range map[string]func(*admin.Config){
		"eu-0 carries out no workloads, since it watches no host cluster":          func(*admin.Config) {},
		"the workloads are not known here: the host cluster has not been read yet": func(c *admin.Config) { c.Workloads = clerk{errors.New("the host cluster has not been read yet")} },
	} {
		server := aDaemonWith(t, change)
		for _, line := range []string{"get workloads", "spread deployment-web -n shop"} {
			_, err := meridian(t, append(strings.Fields(line), "--server", server)...)
			if err == nil || !strings.Contains(sentence(err), want) {
				t.Errorf("%s: %v, want %q", line, err, want)
			}
		}
	}
}
