//go:build e2e

package workloads

import (
	"context"
	"fmt"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// climbs has somebody try to write by a FederatedObject what he may not write himself,
// and a ServiceAccount in whose name it is done lose its rights one by one.
func (w *world) climbs() {
	host, eu, asia := w.site(hostCluster), w.site("eu"), w.site("asia")
	kubectl := func(s *site, args ...string) { w.t.Helper(); s.kubectl("", args...) }
	may := func(s *site, role, subject string, resource string, verbs ...string) {
		w.t.Helper()
		args := []string{"create", "role", role, "--resource=" + resource}
		for _, v := range verbs {
			args = append(args, "--verb="+v)
		}
		kubectl(s, args...)
		kubectl(s, "create", "rolebinding", role, "--role="+role, subject)
	}
	const kim, deployer = "--user=kim", "--serviceaccount=default:deployer"
	asKim := []string{"--context", hostCluster, "--as", "kim"}
	guarded := w.meridian(waiters("guarded", wide), "federate", "-f", "-", "--replicas", "4", "--where", "clusters=eu,asia", "--service-account", "deployer")
	for _, s := range []*site{eu, asia} { // as "join --workloads-as=deployer" gives it
		kubectl(s, "create", "clusterrole", "act-as-deployer", "--verb=impersonate", "--resource=serviceaccounts", "--resource-name=deployer")
		kubectl(s, "create", "clusterrolebinding", "act-as-deployer", "--clusterrole=act-as-deployer", "--serviceaccount="+ours+":meridian")
	}
	may(host, "deployer", deployer, "replicasets.apps", "create", "patch", "delete")
	may(eu, "deployer", deployer, "replicasets.apps", "create", "patch", "delete")

	may(host, "federate", kim, "federatedobjects.meridian.dev", "get", "create", "update", "patch", "delete")
	w.says(guarded, []string{"you may not create replicasets.apps in the namespace default", "bind it to kim"}, w.programs.Kubectl, append(asKim, "create", "-f", "-")...)
	may(host, "replicasets", kim, "replicasets.apps", "create")
	w.says(guarded, []string{"you may not act as the ServiceAccount deployer of the namespace default"}, w.programs.Kubectl, append(asKim, "create", "-f", "-")...)
	kubectl(host, "create", "role", "acts", "--verb=impersonate", "--resource=serviceaccounts", "--resource-name=deployer")
	kubectl(host, "create", "rolebinding", "acts", "--role=acts", kim)
	if out, err := w.run(guarded, w.programs.Kubectl, append(asKim, "create", "-f", "-")...); err != nil {
		w.t.Fatal(out, err)
	}

	w.told("replicaset-guarded", time.Minute, told.Row("eu", v1alpha1.WorkloadApplied, ""),
		told.Row("asia", v1alpha1.WorkloadRefused, `User "system:serviceaccount:default:deployer" cannot patch resource "replicasets" in API group "apps"; let it there: kubectl`))
	w.say("replicaset-guarded", "asia")
	may(asia, "deployer", deployer, "replicasets.apps", "create", "patch", "delete")
	w.told("replicaset-guarded", 90*time.Second, told.Condition(v1alpha1.ConditionPlaced, "True", "2 clusters"), told.Condition(v1alpha1.ConditionReady, "True", "4 of 4 are ready"))

	kubectl(host, "delete", "rolebinding", "deployer")
	began := time.Now()
	w.told("replicaset-guarded", time.Minute, told.Condition(v1alpha1.ConditionPlaced, "False", "Forbidden: system:serviceaccount:default:deployer may not create replicasets.apps in the namespace default of the host cluster"))
	w.t.Logf("that the host withdrew a right was noticed after %.1f s", time.Since(began).Seconds())
	for _, s := range []*site{eu, asia} {
		r, err := s.replicaSet(w.ctx, "guarded")
		if err != nil || r.Status.ReadyReplicas != 2 {
			w.t.Errorf("what was placed in %s did not stay: %v, %v", s.continent.name, r, err)
		}
	}

	w.says("", []string{"you may not delete replicasets.apps in the namespace default"}, w.programs.Kubectl, append(asKim, "delete", "federatedobject", "replicaset-guarded")...)
	kubectl(host, "delete", "federatedobject", "replicaset-guarded", "--timeout=60s")
	w.eventually("it is gone from both", 30*time.Second, func(ctx context.Context) error {
		for _, s := range []*site{eu, asia} {
			if r, err := s.replicaSet(ctx, "guarded"); err == nil {
				return fmt.Errorf("%s has %s", s.continent.name, r.UID)
			}
		}
		return nil
	})
}
