package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/internal/lab"
)

const chart = "../deploy/helm/meridian"

// everything turns on what is off by default, so that every template is looked at.
func everything() map[string]any {
	return map[string]any{
		"region": "europe-west1", "network": "eu-1", "createNamespace": true,
		"meridiand": map[string]any{
			"member": "eu-1", "peers": []any{"192.0.2.60:17443"}, "priorityClassName": "system-cluster-critical",
			"peersService": map[string]any{"enabled": true, "loadBalancerIP": "192.0.2.60"},
			"persistence":  map[string]any{"storageClass": "fast"},
			"nodeSelector": map[string]any{"pool": "edge"},
			"extraArgs":    []any{"--nsid=eu"},

			"credentialSecrets": []any{"member-by-hand"},
		},
		"gateway":       map[string]any{"autoscaling": map[string]any{"enabled": false}, "service": map[string]any{"loadBalancerSourceRanges": []any{"192.0.2.0/24"}}},
		"dns":           map[string]any{"service": map[string]any{"split": true, "loadBalancerIP": "192.0.2.53"}},
		"renew":         map[string]any{"priorityClassName": "system-cluster-critical", "nodeSelector": map[string]any{"pool": "edge"}, "podAnnotations": map[string]any{"a": "b"}},
		"tlsNamespaces": []any{"shop", "*"},
		"workloads":     map[string]any{"serviceAccount": "deployer", "resources": map[string]any{"Widget.example.com": "widgets"}, "follow": []any{"shop", "bank"}},
		"ingressClass":  map[string]any{"default": true},
		"networkPolicy": map[string]any{"peersFrom": []any{map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.0/24"}}}},
	}
}

// dedicatedToo is everything, with a dedicated API, which cannot be a member.
func dedicatedToo() map[string]any {
	v := everything()
	Merge(v, map[string]any{
		"meridiand": map[string]any{"member": ""},
		"api": map[string]any{
			"enabled": true, "priorityClassName": "system-cluster-critical", "nodeSelector": map[string]any{"pool": "edge"}, "podAnnotations": map[string]any{"a": "b"},
			"server": map[string]any{"extraArgs": []any{"--v=2"}}, "persistence": map[string]any{"storageClass": "fast"},
			"service": map[string]any{"loadBalancerIP": "192.0.2.61", "loadBalancerSourceRanges": []any{"192.0.2.0/24"}, "annotations": map[string]any{"a": "b"}},
		},
		"networkPolicy": map[string]any{"apiFrom": []any{map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.0/24"}}}},
	})
	return v
}

// The plain manifests are the chart's, rendered anew by make generate.
func TestManifestsAreTheChart(t *testing.T) {
	objects, err := Render(Namespace, map[string]any{"region": "europe-west1", "network": "eu-1", "createNamespace": true})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := WriteYAML(&b, []Part{{Where: "host cluster", Objects: objects}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../deploy/manifests/meridian.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, body, _ := strings.Cut(string(got), "---\n"); body != strings.TrimPrefix(b.String(), "---\n") {
		t.Error("deploy/manifests/meridian.yaml is not what the chart renders; run: make generate")
	}
}

// The chart carries the CRDs as they were generated.
func TestChartCarriesTheCRDs(t *testing.T) {
	files, err := filepath.Glob("../deploy/crds/*.yaml")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		want, err1 := os.ReadFile(f)
		got, err2 := os.ReadFile(filepath.Join(chart, "files/crds", filepath.Base(f)))
		if err1 != nil || err2 != nil || !bytes.Equal(want, got) {
			t.Errorf("%s in the chart is not the generated one (%v %v); run: make generate", filepath.Base(f), err1, err2)
		}
	}
}

// helm and this package make the same objects of the same values, and helm has
// nothing against the chart.
func TestHelmAgrees(t *testing.T) {
	helm := lab.Helm(t)
	run := func(args ...string) (string, string, error) {
		cmd := exec.CommandContext(t.Context(), helm, args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		return out.String(), errs.String(), err
	}
	for _, told := range []map[string]any{everything(), dedicatedToo()} {
		values := filepath.Join(t.TempDir(), "values.yaml")
		f, err := os.Create(values)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteYAML(f, []Part{{Where: "values", Objects: []*unstructured.Unstructured{{Object: told}}}}); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if out, errs, err := run("lint", "--strict", chart, "-f", values); err != nil {
			t.Errorf("helm lint: %v\n%s%s", err, out, errs)
		}
		out, errs, err := run("template", "meridian", chart, "-n", Namespace, "-f", values)
		if err != nil {
			t.Fatalf("helm template: %v\n%s", err, errs)
		}
		theirs, err := decode([]byte(out))
		if err != nil {
			t.Fatal(err)
		}
		sortObjects(theirs)
		ours, err := Render(Namespace, told)
		if err != nil {
			t.Fatal(err)
		}
		var a, b bytes.Buffer
		if err := WriteYAML(&a, []Part{{Objects: theirs}}); err != nil {
			t.Fatal(err)
		}
		if err := WriteYAML(&b, []Part{{Objects: ours}}); err != nil {
			t.Fatal(err)
		}
		// They differ in who manages the objects, and in nothing else.
		if got, want := strings.ReplaceAll(a.String(), labelManagedBy+": Helm", labelManagedBy+": "+manager), b.String(); got != want {
			t.Error("helm template and Render differ")
		}
	}
	for what, args := range map[string][]string{
		"region is required":                  {},
		"does not match pattern":              {"--set", "region=No_Label"},
		"additional properties 'x' not":       {"--set", "region=a,gateway.x=1"},
		"at '/meridiand/replicas': minimum:":  {"--set", "region=a,meridiand.replicas=0"},
		"the authority lies in default":       {"--set", "region=a,tlsNamespaces={default}"},
		"workloads.follow: the authority":     {"--set", "region=a,workloads.follow={default}"},
		"at '/meridiand/credentialSecrets/0'": {"--set", "region=a,meridiand.credentialSecrets={meridian-ca}"},
		"the dedicated API runs nothing":      {"--set", "region=a,api.enabled=true,meridiand.member=eu"},
		"only the host of an installation":    {"--set", "region=a,api.enabled=true,meridiand.kube=false"},
		"at '/workloads/serviceAccount'":      {"--set", "region=a,workloads.serviceAccount=bank:admin"},
		"invalid propertyName 'Deployment'":   {"--set", "region=a,workloads.resources.Deployment=pods"},
		"at '/renew/schedule': minLength:":    {"--set", "region=a,renew.schedule="},
	} {
		if _, errs, err := run(append([]string{"template", "meridian", chart}, args...)...); err == nil || !strings.Contains(errs, what) {
			t.Errorf("helm template %v: %v, want %q in\n%s", args, err, what, errs)
		}
	}
}

// What is said of workloads is known to the daemons and to the policies, in the host or in
// a dedicated API, and nobody renames what is Kubernetes' own.
func TestWorkloadsAreTold(t *testing.T) {
	kept, err := Dedicated(Namespace, dedicatedToo())
	if err != nil {
		t.Fatal(err)
	}
	for what, told := range map[string]map[string]any{"host": everything(), "dedicated API": dedicatedToo()} {
		put(told, "pods", "workloads", "resources", "Deployment.apps")
		objects, err := Render(Namespace, told)
		if err != nil {
			t.Fatal(err)
		}
		if what != "host" {
			if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return slices.Contains(policyKinds, o.GetKind()) }) {
				t.Error("the cluster around a dedicated API has policies about what is not written there")
			}
			objects = append(objects, kept...)
		}
		var b bytes.Buffer
		if err := WriteYAML(&b, []Part{{Objects: objects}}); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(b.String(), "''", "'")
		flat := strings.Join(strings.Fields(text), " ")
		for _, says := range []string{"- --workloads-as=deployer ", "- --workload-resource=Widget.example.com=widgets ", "'Widget.example.com': 'widgets'", "'Deployment.apps': 'deployments'"} {
			if !strings.Contains(flat, says) {
				t.Errorf("%s: nobody is told %q", what, says)
			}
		}
		if n := strings.Count(text, "\nkind: ValidatingAdmissionPolicy"); n != 4 {
			t.Errorf("%s: %d policies and bindings", what, n)
		}
	}
}

// Every container is as locked up as Pod Security's "restricted" asks, and says what it needs.
func TestContainersAreLockedUp(t *testing.T) {
	objects, err := Render(Namespace, dedicatedToo())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, o := range objects {
		pod, found, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		_, ends, _ := unstructured.NestedMap(o.Object, "spec", "jobTemplate") // so nobody asks whether it is ready
		if ends {
			pod, found, _ = unstructured.NestedMap(o.Object, "spec", "jobTemplate", "spec", "template", "spec")
		}
		if !found {
			continue
		}
		containers, _, _ := unstructured.NestedSlice(pod, "containers")
		if root, _, _ := unstructured.NestedBool(pod, "securityContext", "runAsNonRoot"); !root {
			t.Errorf("%s may run as root", name(o))
		}
		for _, c := range containers {
			seen++
			m := c.(map[string]any)
			readOnly, _, _ := unstructured.NestedBool(m, "securityContext", "readOnlyRootFilesystem")
			escalate, said, _ := unstructured.NestedBool(m, "securityContext", "allowPrivilegeEscalation")
			drop, _, _ := unstructured.NestedStringSlice(m, "securityContext", "capabilities", "drop")
			_, limits, _ := unstructured.NestedMap(m, "resources", "limits")
			if !readOnly || escalate || !said || !slices.Equal(drop, []string{"ALL"}) || !limits || (m["readinessProbe"] == nil) != (ends || m["name"] == "furnish") {
				t.Errorf("%s: container %v is not locked up", name(o), m["name"])
			}
			ports, _, _ := unstructured.NestedSlice(m, "ports")
			for _, p := range ports {
				if n, _, _ := unstructured.NestedInt64(p.(map[string]any), "containerPort"); n < 1024 {
					t.Errorf("%s listens on %d, which needs a privilege", name(o), n)
				}
			}
		}
	}
	if seen != 6 {
		t.Errorf("%d containers", seen)
	}
}
