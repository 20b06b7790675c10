package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// twoClusters starts two real API servers and writes a kubeconfig with both.
func twoClusters(t *testing.T) (kubeconfig string) {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	all := clientcmdapi.NewConfig()
	for _, name := range []string{"eu", "us"} {
		c, err := cluster.Start(t.Context(), group, cluster.Config{Name: name, Addr: lab.Loopback(), Dir: t.TempDir(), Programs: programs, NoControllers: true})
		if err != nil {
			t.Fatal(err)
		}
		one, err := clientcmd.Load(c.Kubeconfig())
		if err != nil {
			t.Fatal(err)
		}
		all.Clusters[name], all.AuthInfos[name] = one.Clusters[name], one.AuthInfos["admin"]
		all.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*all, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// The commands, as a person types them, on real API servers.
func TestInitJoinCheckUnjoin(t *testing.T) {
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
	run(`no context "nowhere"; it has eu, us`, "init", "--context", "nowhere")
	run("name the region with --region", "init", "--context", "eu")
	run("nothing is installed here", "check", "--context", "eu")
	run("only --dry-run does", "init", "--context", "eu", "-o", "yaml")
	run("kind: StatefulSet", "init", "--context", "eu", "--region", "europe-west1", "--dry-run")
	run("is not a DNS label", "init", "--context", "eu", "--region", "europe-west1", "--set", "network=No_Label")
	run("45 created", "init", "--context", "eu", "--region", "europe-west1", "--network", "eu-1")
	run("0 created, 0 changed, 45 as they were", "init", "--context", "eu", "--region", "europe-west1", "--network", "eu-1")
	run("1 created, 0 changed, 45 as they were", "init", "--context", "eu", "--region", "europe-west1", "--network", "eu-1",
		"--domain", "shop.example.com", "--nameserver", "ns1.shop.example.com=192.0.2.53")
	run("0 created, 0 changed, 45 as they were", "init", "--context", "eu")
	run("1 created, 3 changed, 42 as they were", "init", "--context", "eu", "--set", "serviceMonitor.enabled=false", "--peer", "192.0.2.60:17443", "--set", "dns.service.split=true")
	run("--peer=192.0.2.60:17443", "init", "--context", "eu", "--dry-run")
	run("0 changed, 46 as they were", "init", "--context", "eu", "--network", "eu-1")
	run("cannot move to us-east1", "init", "--context", "eu", "--region", "us-east1")
	run("1 to 16 daemons", "init", "--context", "eu", "--replicas", "0")
	run("the very cluster that eu does", "init", "--context", "eu", "--share-with", "eu")
	run("as they were", "init", "--context", "eu", "--peer", "")
	if out := run("kind: StatefulSet", "init", "--context", "eu", "--dry-run"); strings.Contains(out, "192.0.2.60") {
		t.Error("the peer stays")
	} else if strings.Contains(out, "kind: Secret\n") || strings.Contains(out, ".key:") {
		t.Error("keys are printed")
	}
	run("0 to be renewed, 4 good.", "certs", "renew", "--context", "eu", "--dry-run")
	run("0 renewed, 4 good.", "certs", "renew", "--context", "eu")
	run(`"good": 4`, "certs", "renew", "--context", "eu", "-o", "json")
	run("0 renewed, 0 good.", "certs", "renew", "--context", "us")
	run("Secret meridian-system/meridian-ca created", "init", "--context", "us", "--region", "us-east1", "--share-with", "eu", "--peer", "192.0.2.60:17443")

	if out := run("kind: StatefulSet", "init", "--context", "us", "--dry-run"); strings.Contains(out, "--kube") || !strings.Contains(out, "--peer=192.0.2.60:17443") {
		t.Errorf("the region that shares became a host of its own:\n%s", out)
	}
	run(`no cloud has a region "lab"`, "join", "us-1", "--context", "us", "--host-context", "eu", "--region", "lab")
	run("is no place on earth", "join", "us-1", "--context", "us", "--host-context", "eu", "--region", "lab", "--place", "95,1")
	run("your own machine", "join", "us-1", "--context", "us", "--host-context", "eu", "--region", "us-east1")
	run("\"meridian.dev/member\": \"us-1\"", "join", "us-1", "--context", "us", "--host-context", "eu", "--region", "us-east1", "--api-server", "https://127.1.7.2:6443", "--dry-run", "-o", "json")
	run("us-1 is a member", "join", "us-1", "--context", "us", "--host-context", "eu", "--region", "us-east1", "--gateway", "192.0.2.20:8080", "--api-server", "https://127.1.7.2:6443")

	run("0 created, 0 changed, 4 as they were", "join", "us-1", "--context", "us", "--host-context", "eu")
	run("leads to the member us-1, not to us-2", "unjoin", "us-2", "--context", "us", "--host-context", "eu")
	federatesThereAndBack(t, run)

	out, err := meridian(t, "check", "--context", "eu", "-o", "json", "--kubeconfig", kubeconfig)
	if err == nil || !strings.Contains(err.Error(), "wrong with the installation in eu") {
		t.Errorf("check is content: %v", err)
	}
	var report install.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Faults() == 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"unjoin"}, {"join"}} { // the name of the member, once
		for typed, want := range map[string]string{"": "us-1\n:4", "us-1": ":4"} {
			line := append([]string{"__complete"}, append(args, "--kubeconfig", kubeconfig, "--host-context", "eu")...)
			if typed != "" {
				line = append(line, typed)
			}
			if out, err := meridian(t, append(line, "")...); err != nil || !strings.HasPrefix(out, want) {
				t.Errorf("%v completes to %v %q", line, err, out)
			}
		}
	}
	run("joined to eu and not to be forgotten unasked: us-1", "uninstall", "--context", "eu")
	run("only --dry-run does", "uninstall", "--context", "eu", "-o", "json")
	run("kind: ClusterRole", "unjoin", "us-1", "--context", "us", "--host-context", "eu", "--dry-run")
	run("only --dry-run does", "unjoin", "us-1", "--context", "us", "--host-context", "eu", "-o", "json")
	run("--force", "unjoin", "us-1", "--host-context", "eu")
	run("us-1 is no member any more", "unjoin", "us-1", "--context", "us", "--host-context", "eu", "--grace", "0s")
	run("no cluster has joined yet", "check", "--context", "eu")
	run(`"kind": "StatefulSet"`, "uninstall", "--context", "us", "--dry-run", "-o", "json")
}

func TestContextsAreCompleted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\ncontexts: [{name: b, context: {}}, {name: a, context: {}}]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	out, err := meridian(t, "__complete", "join", "x", "--kubeconfig", file, "--host-context", "")
	if lines := strings.Split(out, "\n"); err != nil || !slices.Equal(lines[:2], []string{"a", "b"}) {
		t.Errorf("%v\n%s", err, out)
	}
}
