package install

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

// What is written is named, and by none of it can a host become anybody.
func TestParseWorkloads(t *testing.T) {
	got, err := ParseWorkloads([]string{"deployments.apps", "configmaps", "widgets.shop.example.com", "configmaps"})
	if want := []string{"configmaps", "deployments.apps", "widgets.shop.example.com"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseWorkloads(nil); err != nil || got != nil {
		t.Errorf("nothing is %v, %v", got, err)
	}
	if _, err := ParseWorkloads(DefaultWorkloads()); err != nil {
		t.Error(err)
	}
	for text, says := range map[string]string{
		"*": "is no resource", "deployments.": "is no resource", "Pods": "is no resource", "": "is no resource",
		"clusterroles.rbac.authorization.k8s.io": "can become anybody", "nodes": "can become anybody",
	} {
		if _, err := ParseWorkloads([]string{text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// A member that takes no workloads can be changed by nobody; one that does, in what
// was named only.
func TestWorkloadRules(t *testing.T) {
	for _, rule := range memberRules() {
		if !slices.Equal(rule.Verbs, []string{"get", "list", "watch"}) {
			t.Errorf("a member gives %v", rule)
		}
	}
	for _, rule := range workloadRules(DefaultWorkloads(), nil) {
		if slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, rbacv1.ResourceAll) || slices.Contains(rule.Verbs, rbacv1.VerbAll) {
			t.Errorf("workloads give %v", rule)
		}
		if slices.Contains(rule.Resources, "namespaces") && !slices.Equal(rule.Verbs, []string{"create"}) {
			t.Errorf("namespaces may be more than created: %v", rule)
		}
	}
	defined := slices.DeleteFunc(workloadRules([]string{"deployments.apps", "widgets.example.com"}, nil), func(r rbacv1.PolicyRule) bool {
		return !slices.Contains(r.Resources, "customresourcedefinitions")
	})
	if len(defined) != 1 || !slices.Equal(defined[0].ResourceNames, []string{"widgets.example.com"}) || !slices.Equal(defined[0].Verbs, []string{"get"}) {
		t.Errorf("of definitions, %v", defined)
	}
	j := Joining{Namespace: Namespace}
	if n := len(j.inMember()); n != len(memberObjects(Namespace)) {
		t.Errorf("without workloads a member holds %d objects", n)
	}
}

// A host that acts as accounts writes nothing by itself, and acts as nobody else.
func TestWorkloadsAs(t *testing.T) {
	accounts, err := ParseAccounts([]string{"web.deployer", "deployer", "deployer"})
	if err != nil || !slices.Equal(accounts, []string{"deployer", "web.deployer"}) {
		t.Fatalf("%v, %v", accounts, err)
	}
	acts := 0
	for _, rule := range workloadRules(DefaultWorkloads(), accounts) {
		switch {
		case slices.Equal(rule.Verbs, []string{"get", "list", "watch"}):
		case slices.Equal(rule.Verbs, []string{"impersonate"}) && slices.Equal(rule.Resources, []string{"serviceaccounts"}) && slices.Equal(rule.ResourceNames, accounts):
			acts++
		default:
			t.Errorf("it gives %v", rule)
		}
	}
	if acts != 1 {
		t.Errorf("%d rules to act as somebody", acts)
	}
	for name, says := range map[string]string{
		"*": "is no name of a ServiceAccount", "kube-system:x": "is no name", "": "is no name", "default": "for other things", "meridian": "for other things",
		"clusterrole-aggregation-controller": "also in kube-system",
	} {
		if _, err := ParseAccounts([]string{name}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
	}
	j := Joining{Membership: Membership{Name: "us-1"}, TokenLifetime: DefaultTokenLifetime, WorkloadsAs: accounts}
	if err := j.check(); err == nil || !strings.Contains(err.Error(), "say with --workloads which") {
		t.Errorf("in whose name, and not what: %v", err)
	}
}
