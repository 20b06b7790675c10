package cluster

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.1.0.0/16")) }

// started starts a cluster that ends with the test.
func started(t *testing.T, change func(*Config)) *Cluster {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	cfg := Config{Name: "eu-1", Addr: netip.MustParseAddr("10.1.0.1"), Dir: t.TempDir(), Programs: programs}
	if change != nil {
		change(&cfg)
	}
	begin := time.Now()
	c, err := Start(t.Context(), group, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is usable after %s", cfg.Name, time.Since(begin).Round(10*time.Millisecond))
	return c
}

func clientOf(t *testing.T, kubeconfig []byte) kubernetes.Interface {
	t.Helper()
	cfg, err := restFrom(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
}

func version(t *testing.T, o metav1.Object) int {
	t.Helper()
	v, err := strconv.Atoi(o.GetResourceVersion())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestLife walks through the life of one cluster.
func TestLife(t *testing.T) {
	c := started(t, nil)
	client := clientOf(t, c.Kubeconfig())
	maps := client.CoreV1().ConfigMaps("default")
	var memory []string
	for name, pid := range c.PIDs() {
		memory = append(memory, name+" "+resident(t, pid))
	}
	t.Log("memory: ", strings.Join(memory, ", "))

	t.Run("the admin is who he says", func(t *testing.T) {
		who, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || who.Status.UserInfo.Username != "admin" {
			t.Errorf("got %+v, %v", who, err)
		}
	})

	t.Run("a user without rights is refused", func(t *testing.T) {
		kubeconfig, err := c.KubeconfigFor("nobody", "strangers")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := clientOf(t, kubeconfig).CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("listing Secrets says %v", err)
		}
	})

	t.Run("a service account has a token", func(t *testing.T) {
		request, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		kubeconfig, err := c.KubeconfigWithToken("default", request.Status.Token)
		if err != nil {
			t.Fatal(err)
		}
		who, err := clientOf(t, kubeconfig).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" {
			t.Errorf("got %+v, %v", who, err)
		}
	})

	t.Run("the server is paused, resumed, stopped and started", func(t *testing.T) {
		if err := c.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := maps.List(short, metav1.ListOptions{}); err == nil || short.Err() == nil {
			t.Errorf("paused, it answers: %v", err)
		}
		if err := c.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		if _, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("resumed, it says %v", err)
		}
		if err := c.StopAPI(); err != nil {
			t.Fatal(err)
		}
		if _, err := maps.List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("stopped, it says %v", err)
		}
		begin := time.Now()
		if err := c.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("ready again after %s", time.Since(begin).Round(10*time.Millisecond))
		if _, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("started, it says %v", err)
		}
	})

	t.Run("a cluster that was off has all that it had", func(t *testing.T) {
		kept, err := maps.Create(t.Context(), configMap("kept"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := maps.Get(t.Context(), "kept", metav1.GetOptions{}); err != nil || got.UID != kept.UID {
			t.Errorf("it has %v, %v", got, err)
		}
	})

	t.Run("a restored backup goes back in time", func(t *testing.T) {
		before, err := maps.Create(t.Context(), configMap("before"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		backup, err := c.Backup()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("backed up in %s", time.Since(begin).Round(10*time.Millisecond))
		after, err := maps.Create(t.Context(), configMap("after"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if version(t, after) <= version(t, before) {
			t.Errorf("versions do not grow: %s, then %s", before.ResourceVersion, after.ResourceVersion)
		}
		begin = time.Now()
		if err := c.Restore(t.Context(), backup); err != nil {
			t.Fatal(err)
		}
		t.Logf("restored in %s", time.Since(begin).Round(10*time.Millisecond))
		list, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]string{}
		for _, m := range list.Items {
			names[m.Name] = m.ResourceVersion
		}
		if names["before"] != before.ResourceVersion || names["after"] != "" {
			t.Errorf("after going back there are %v", names)
		}
		again, err := maps.Create(t.Context(), configMap("again"), metav1.CreateOptions{})
		if err != nil || version(t, again) <= version(t, before) {
			t.Errorf("the next version is %v, %v; want one after %s", again.GetResourceVersion(), err, before.ResourceVersion)
		}
		t.Logf("resourceVersion: %s at the backup, %s after it, %s after the restore", before.ResourceVersion, after.ResourceVersion, again.ResourceVersion)
	})
}

// TestLoopback: what needs no pods needs no network of its own either.
func TestLoopback(t *testing.T) {
	c := started(t, func(cfg *Config) {
		cfg.Addr, cfg.NoControllers = netip.MustParseAddr("127.0.0.1"), true
		cfg.APIPort, cfg.EtcdPort, cfg.EtcdPeerPort = 16443, 12379, 12380
	})
	client := clientOf(t, c.Kubeconfig())
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("one"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if pids := c.PIDs(); len(pids) != 2 {
		t.Errorf("there run %v, want no controllers", pids)
	}
}

func TestStartRefuses(t *testing.T) {
	good := Config{Name: "x", Addr: netip.MustParseAddr("10.1.0.9"), Dir: t.TempDir(), Programs: kubebin.Programs{ControllerManager: "/x", Etcd: "/no/such/etcd"}}
	group := lab.NewGroup(t.Context())
	defer group.Stop()
	for want, change := range map[string]func(*Config){
		"it has no name":                    func(c *Config) { c.Name = "" },
		"needs an address":                  func(c *Config) { c.Addr = netip.IPv4Unspecified() },
		"needs a folder":                    func(c *Config) { c.Dir = "" },
		"no such file or directory":         func(c *Config) { c.Dir = filepath.Join(c.Dir, "none") },
		`run "make kube"`:                   func(c *Config) { c.Programs.ControllerManager = "" },
		"starting etcd x: fork/exec /no/su": func(*Config) {},
	} {
		cfg := good
		change(&cfg)
		if _, err := Start(t.Context(), group, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that says %q", err, want)
		}
	}
}

// resident is the memory that a process has to itself and shares.
func resident(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rss, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(rss)
		}
	}
	return "?"
}
