package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// The commands of a dedicated API, as a person and a pod type them, on real API servers.
func TestDedicatedAPI(t *testing.T) {
	kubeconfig := twoClusters(t)
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := meridian(t, append(args, "--kubeconfig", kubeconfig)...)
		if err != nil {
			out += sentence(err)
		}
		if !strings.Contains(out, want) {
			t.Errorf("meridian %s: no %q in:\n%s", strings.Join(args, " "), want, out)
		}
		return out
	}
	region := []string{"init", "--context", "eu", "--region", "europe-west1", "--dedicated-api"}
	zone := []string{"--domain", "shop.example.com", "--nameserver", "ns1.shop.example.com=192.0.2.53"}
	if out := run("kind: Zone", slices.Concat(region, zone, []string{"--dry-run", "--offline"})...); strings.Index(out, "kind: Zone") < strings.Index(out, "name: meridian-api-admin") {
		t.Error("the Zone is not what comes last, into the dedicated API")
	}
	run("write https://host:port", append(region, "--api-server", "http://x")...)
	if out := run("name: meridian-api-admin", append(region, "--dry-run", "--offline")...); strings.Contains(out, "kind: CustomResourceDefinition") || !strings.Contains(out, "--plain-objects") {
		t.Error("what is printed is not for a dedicated API")
	}
	run("kubectl --context meridian get clusters", append(region, "--api-server", "https://127.1.7.9:6443")...)
	after, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c := after.Clusters["meridian"]
	if c == nil || c.Server != "https://127.1.7.9:6443" || c.TLSServerName != "meridian-api.meridian-system.svc" || len(after.Contexts) != 3 || after.CurrentContext != "" {
		t.Errorf("%+v, contexts %v, current %q", c, after.Contexts, after.CurrentContext)
	}
	run("0 created, 0 changed", "init", "--context", "eu", "--no-context")
	run("has a dedicated API, and everything", "init", "--context", "eu", "--dedicated-api=false")
	run("--host-context meridian", "uninstall", "--context", "eu")

	// The other cluster takes the part of the API server.
	one := clientcmd.GetConfigFromFileOrDie(kubeconfig)
	one.CurrentContext = "us"
	beside := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*one, beside); err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("tlsNamespaces: [default]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if out, err := meridian(t, "furnish", "--kubeconfig", beside, "--values", values); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run("no cluster has joined yet", "check", "--context", "us")
	run("in which nothing runs", "init", "--context", "us", "--region", "us-east1")
	run("Dedicated API", "check", "--context", "eu")

	// What is called so already and leads elsewhere stays.
	after.Clusters["meridian"].TLSServerName = ""
	if err := clientcmd.WriteToFile(*after, kubeconfig); err != nil {
		t.Fatal(err)
	}
	run("leads elsewhere and is not written over", append(region, "--api-server", "https://127.1.7.9:6443")...)
}
