//go:build e2e

package workloads

import (
	"context"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// acted is a workload that is carried out on behalf of a ServiceAccount.
var acted = wrapped("default", "configmap-acted", "{apiVersion: v1, kind: ConfigMap, metadata: {name: acted}, data: {a: b}}",
	"  serviceAccountName: deployer\n  where: {clusters: [africa, asia]}\n")

// climb has somebody try to get by federating what he may not have otherwise, and a
// ServiceAccount write where it may.
func (w *world) climb() {
	host, africa := w.site(hostCluster), w.site("africa")
	const alice, deployer = "--user=alice", "--serviceaccount=default:deployer"
	may := func(s *site, role, whom, resource string) {
		s.kubectl("", "create", "role", role, "--verb=get,create,patch,update,delete", "--resource="+resource)
		s.kubectl("", "create", "rolebinding", role, "--role="+role, whom)
	}
	forget := func(s *site, role string) {
		s.kubectl("", "delete", "rolebinding,role", role)
	}
	hers := wrapped("default", "configmap-hers", "{apiVersion: v1, kind: ConfigMap, metadata: {name: hers}, data: {a: b}}", "")
	apply := []string{"--context", hostCluster, "--as", "alice", "apply", "-f", "-"}

	may(host, "federates", alice, "federatedobjects.meridian.dev")
	w.says(hers, []string{"you may not create configmaps in the namespace default, so you may not do so in many clusters either", "bind it to alice"}, w.programs.Kubectl, apply...)
	may(host, "writes", alice, "configmaps")
	w.eventually("alice may", 10*time.Second, func(context.Context) error {
		_, err := w.run(hers, w.programs.Kubectl, apply...)
		return err
	})
	w.told("configmap-hers", 20*time.Second, condition(v1alpha1.ConditionPlaced, "True", ""))
	w.says(acted, []string{"you may not act as the ServiceAccount deployer of the namespace default"}, w.programs.Kubectl, apply...)

	// In Africa the host only looks, and writes in the name of others; Asia lets it act
	// for nobody.
	w.joinAs(africa, "deployer")
	host.kubectl(acted, "apply", "-f", "-")
	w.told("configmap-acted", 20*time.Second, condition(v1alpha1.ConditionPlaced, "False", "Forbidden: system:serviceaccount:default:deployer may not create configmaps in the namespace default of the host cluster"))
	may(host, "deploys", deployer, "configmaps")
	w.told("configmap-acted", time.Minute, row("africa", v1alpha1.WorkloadRefused, `User "system:serviceaccount:default:deployer" cannot`),
		row("asia", v1alpha1.WorkloadRefused, "does not let us act as the ServiceAccount deployer"))
	w.say("configmap-acted", "africa")
	w.say("configmap-acted", "asia")
	may(africa, "deploys", deployer, "configmaps")
	w.told("configmap-acted", time.Minute, row("africa", v1alpha1.WorkloadApplied, ""))
	if by := africa.kubectl("", "get", "configmap", "acted", "-o", "jsonpath={.data.a}"); by != "b" {
		w.t.Errorf("Africa has %q", by)
	}

	forget(host, "deploys")
	w.told("configmap-acted", 2*time.Minute, condition(v1alpha1.ConditionPlaced, "False", "Forbidden: system:serviceaccount:default:deployer may not"))
	if by := africa.kubectl("", "get", "configmap", "acted", "-o", "jsonpath={.data.a}"); by != "b" {
		w.t.Errorf("a right that was withdrawn in the host took away what Africa had: %q", by)
	}
	w.joinAs(africa, "") // what was placed by the host's own rights needs them to go
	host.kubectl("", "delete", "federatedobject", "configmap-acted", "configmap-hers", "--timeout=60s")
	for _, role := range []string{"federates", "writes"} {
		forget(host, role)
	}
	forget(africa, "deploys")
}
