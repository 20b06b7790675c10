package node

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"
)

func TestAddressesGoRound(t *testing.T) {
	a, err := newAddresses(netip.MustParsePrefix("10.244.1.7/29"))
	if err != nil {
		t.Fatal(err)
	}
	take := func(wanted string) string {
		t.Helper()
		w, _ := netip.ParseAddr(wanted)
		got, err := a.take(w)
		if err != nil {
			return err.Error()
		}
		return got.String()
	}
	var got []string
	got = append(got, take(""), take("10.244.1.5"), take(""))
	a.give(netip.MustParseAddr("10.244.1.1"))
	got = append(got, take("10.244.1.2"), take("10.9.9.9"), take(""), take(""), take(""))
	want := []string{
		"10.244.1.1", "10.244.1.5", "10.244.1.2",
		"10.244.1.3", // the wanted one is taken
		"10.244.1.4", // the wanted one is not ours
		"10.244.1.6", // 5 is taken
		"10.244.1.1", // given back long ago
		"all addresses of 10.244.1.0/29 are taken: give the node a wider prefix",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/31")} {
		if _, err := newAddresses(bad); err == nil {
			t.Errorf("%s is taken as a prefix for pods", bad)
		}
	}
}

// TestAddressesAreUnique: whatever is taken and given back, no two have the same
// and none is refused while one is free.
func TestAddressesAreUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, err := newAddresses(netip.MustParsePrefix("10.0.0.0/28"))
		if err != nil {
			t.Fatal(err)
		}
		held := map[netip.Addr]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "give") {
				at := rapid.SampledFrom(slices.SortedFunc(maps.Keys(held), netip.Addr.Compare)).Draw(t, "which")
				a.give(at)
				delete(held, at)
				continue
			}
			at, err := a.take(netip.Addr{})
			switch {
			case err != nil && len(held) < 14:
				t.Fatalf("refused with %d of 14 taken: %v", len(held), err)
			case err == nil && (held[at] || !a.prefix.Contains(at)):
				t.Fatalf("%s was given twice or is not ours", at)
			case err == nil:
				held[at] = true
			}
		}
	})
}

func TestLocalize(t *testing.T) {
	c := Container{mounts: []mount{{"/etc/tls/extra", "/x/extra"}, {"/etc/tls", "/x/tls"}, {"/run", "/x/run"}}}
	for word, want := range map[string]string{
		"":                                 "",
		"/etc/tls":                         "/x/tls",
		"--key=/etc/tls/key":               "--key=/x/tls/key",
		"/etc/tls/extra/a:/etc/tls/b,/run": "/x/extra/a:/x/tls/b,/x/run",
		"/etc/tlsx /other/etc/tls":         "/etc/tlsx /other/etc/tls",
		"run /run/../etc":                  "run /x/run/../etc",
	} {
		if got := c.localize(word); got != want {
			t.Errorf("%q becomes %q, want %q", word, got, want)
		}
	}
	for file, want := range map[string]string{"/etc/tls/extra/a": "/x/extra/a", "/etc/tls": "/x/tls", "/etc/tlsx": "/etc/tlsx"} {
		if got := c.Local(file); got != want {
			t.Errorf("%q lies at %q, want %q", file, got, want)
		}
	}
}

func TestAlone(t *testing.T) {
	addr := netip.MustParseAddr("10.1.2.3")
	for word, want := range map[string]string{
		"--xds=:18000":                        "--xds=10.1.2.3:18000",
		":80":                                 "10.1.2.3:80",
		"--bind-address=0.0.0.0":              "--bind-address=10.1.2.3",
		"--initial=a=http://127.0.0.1:2380":   "--initial=a=http://10.1.2.3:2380",
		"--peer=meridiand-0.peers.svc:17443":  "--peer=meridiand-0.peers.svc:17443",
		"--at=:name":                          "--at=:name",
		"--at=:70000":                         "--at=:70000",
		"--listen-metrics=http://0.0.0.0:123": "--listen-metrics=http://10.1.2.3:123",
	} {
		if got := alone(word, addr); got != want {
			t.Errorf("%q becomes %q, want %q", word, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "$(A)"}
	for word, want := range map[string]string{
		"":                   "",
		"$(A)$(B)":           "1$(A)",
		"$$(A) $(C) $A $( $": "$(A) $(C) $A $( $",
		"a$(A":               "a$(A",
	} {
		if got := expand(word, env); got != want {
			t.Errorf("%q becomes %q, want %q", word, got, want)
		}
	}
}

func TestImage(t *testing.T) {
	n := Node{cfg: Config{Images: map[string]Image{"pause": nil, "whereami": Whereami("/bin/whereami"), "r.example:5000/sh:2": Program("/bin/sh")}}}
	for name, ok := range map[string]bool{
		"pause": true, "registry.k8s.io/pause:3.10": true, "whereami@sha256:00": true, "r.example:5000/sh:2": true, "sh": false, "": false,
	} {
		if _, err := n.image(name); (err == nil) != ok {
			t.Errorf("image %q: %v", name, err)
		}
	}
	c := Container{Addr: netip.MustParseAddr("10.244.0.9"), Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}}, Zone: "a", Args: []string{"--fail"}}
	got, err := Whereami("/bin/whereami")(c)
	if err != nil || got.Path != "/bin/whereami" || !slices.Contains(got.Env, "LISTEN=10.244.0.9:8080") || !slices.Contains(got.Args, "--fail") {
		t.Errorf("whereami is started as %+v, %v", got, err)
	}
}

func TestSubPath(t *testing.T) {
	at := func(subPath string) (string, error) {
		mounts, err := mountsOf(&corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/m/", SubPath: subPath}}}, map[string]string{"v": "/x"})
		return Container{mounts: mounts}.Local("/m"), err
	}
	if got, err := at("deep/a"); err != nil || got != "/x/deep/a" {
		t.Errorf("a subPath lies at %q, %v", got, err)
	}
	if got, err := at("../../etc"); err == nil {
		t.Errorf("a subPath that leads out lies at %q", got)
	}
}

// TestReplace changes the files of a volume and looks as a container does.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []files{
		{"a": []byte("1"), "deep/er/b": []byte("2"), "deep/c": []byte("3")},
		{"a": []byte("1"), "deep/er/b": []byte("changed"), "deep/c": []byte("3")},
		{"deep/c": []byte("4"), "new": nil},
		{},
		{"a": []byte("5")},
	} {
		if err := replace(dir, content); err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink(filepath.Join(dir, current))
		if err != nil {
			t.Fatal(err)
		}
		if err := replace(dir, content); err != nil { // nothing to do
			t.Fatal(err)
		}
		if again, _ := os.Readlink(filepath.Join(dir, current)); again != link {
			t.Errorf("the same files again move the link from %s to %s", link, again)
		}
		got := files{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		hidden := 0
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				hidden++
				continue
			}
			root, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			err = filepath.WalkDir(root, func(file string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(file)
				got[strings.TrimPrefix(e.Name()+file[len(root):], "/")] = b
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if hidden != 2 {
			t.Errorf("%d hidden entries, want the link and one folder", hidden)
		}
		if fmt.Sprint(got) != fmt.Sprint(content) {
			t.Errorf("there is %s, want %s", got, content)
		}
	}
	if err := replace(dir, files{"../out": nil}); err == nil {
		t.Error("a file leads out of its volume")
	}
}

func TestStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	ended := func(code int) *exit { return &exit{code: code, started: now, ended: now, said: "farewell"} }
	two := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}}
	up := state{running: true, ready: true, started: now}
	tests := []struct {
		name    string
		states  []state
		trouble string
		want    string // phase, ready, state of the first container
	}{
		{"not begun", nil, "", "Pending false waiting ContainerCreating"},
		{"something is missing", nil, "no image", "Pending false waiting CreateContainerError no image"},
		{"just begun", []state{{}, {}}, "", "Pending false waiting ContainerCreating"},
		{"all ready", []state{up, up}, "", "Running true running"},
		{"one not ready", []state{{running: true}, up}, "", "Running false running"},
		{"one starts again", []state{{exit: ended(3), restarts: 2}, up}, "", "Running false waiting CrashLoopBackOff it ended and will start again"},
		{"one cannot start again", []state{{exit: ended(3), trouble: "no file"}, up}, "", "Running false waiting CreateContainerError no file"},
		{"one has ended", []state{{exit: ended(0), over: true}, up}, "", "Running false terminated 0"},
		{"all have ended", []state{{exit: ended(0), over: true}, {over: true}}, "", "Succeeded false terminated 0"},
		{"all have ended, one badly", []state{{exit: ended(137), over: true}, {exit: ended(0), over: true}}, "", "Failed false terminated 137 farewell"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := statusOf(two, view{addr: netip.MustParseAddr("10.244.0.1"), host: netip.MustParseAddr("10.1.1.1"), states: tt.states, trouble: tt.trouble, now: now})
			got := fmt.Sprintf("%s %v ", s.Phase, holds(s.Conditions, corev1.PodReady))
			first := s.ContainerStatuses[0].State
			switch {
			case first.Running != nil:
				got += "running"
			case first.Waiting != nil:
				got += strings.TrimSpace("waiting " + first.Waiting.Reason + " " + first.Waiting.Message)
			case first.Terminated != nil:
				got += strings.TrimSpace(fmt.Sprintf("terminated %d %s", first.Terminated.ExitCode, first.Terminated.Message))
			}
			if got != tt.want {
				t.Errorf("it is %q, want %q", got, tt.want)
			}
			known := two.DeepCopy()
			known.Status = s
			again := statusOf(known, view{addr: netip.MustParseAddr("10.244.0.1"), host: netip.MustParseAddr("10.1.1.1"), states: tt.states, trouble: tt.trouble, now: now.Add(time.Hour)})
			if patch, err := patchFor(known, again); err != nil || patch != nil {
				t.Errorf("an hour later nothing has changed, but it is told again: %s, %v", patch, err)
			}
		})
	}
	patch, err := patchFor(two, statusOf(two, view{host: netip.MustParseAddr("10.1.1.1"), now: now}))
	if err != nil || !strings.Contains(string(patch), `"metadata":{"uid":"u"}`) {
		t.Errorf("the patch does not hold for this pod alone: %s, %v", patch, err)
	}
}

func TestReadinessGate(t *testing.T) {
	object := &corev1.Pod{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "a"}}, ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}},
	}}
	v := view{states: []state{{running: true, ready: true}}, now: time.Now()}
	if holds(statusOf(object, v).Conditions, corev1.PodReady) {
		t.Error("ready although its gate is shut")
	}
	object.Status.Conditions = []corev1.PodCondition{{Type: "example.org/gate", Status: corev1.ConditionTrue}}
	if !holds(statusOf(object, v).Conditions, corev1.PodReady) {
		t.Error("not ready although its gate is open")
	}
}

func TestPlace(t *testing.T) {
	machine := func(name string, change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": name}}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("3")}
		if change != nil {
			change(n)
		}
		return n
	}
	nodes := []*corev1.Node{
		machine("c", func(n *corev1.Node) { n.Spec.Unschedulable = true }),
		machine("b", nil),
		machine("a", nil),
		machine("d", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}, {Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule}}
		}),
	}
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pods := []*corev1.Pod{}
	add := func(name string, change func(*corev1.Pod)) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(created.Add(time.Duration(len(pods)) * time.Second))}}
		change(p)
		pods = append(pods, p)
	}
	add("there", func(p *corev1.Pod) { p.Spec.NodeName = "a" })
	add("over", func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "b", corev1.PodSucceeded })
	add("first", func(*corev1.Pod) {})
	add("second", func(*corev1.Pod) {})
	add("selects", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "a"} })
	add("daemon", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists}}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"c"}}}}},
		}}}
	})
	add("full", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "a"} })
	add("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "wait"}} })
	add("tolerant", func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} })
	add("told", func(*corev1.Pod) {})
	add("told long ago", func(*corev1.Pod) {})
	s, err := NewScheduler(&rest.Config{Host: "https://10.1.0.1:6443"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.bound["told"] = binding{"d", created}
	s.bound["told long ago"] = binding{"d", created.Add(-seenWithin)}
	slices.Reverse(pods) // the order of a list says nothing
	var got []string
	placed, unplaced := s.place(pods, nodes, created.Add(time.Second))
	for _, p := range placed {
		got = append(got, p.pod.Name+" to "+p.node)
	}
	if len(unplaced) != 1 || unplaced[0].Name != "full" {
		t.Errorf("unplaced are %v", unplaced)
	}
	want := []string{"first to b", "second to a", "selects to a", "daemon to c", "tolerant to b", "told long ago to b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("placed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[types.UID]bool{"full": true}, s.stuck); diff != "" {
		t.Errorf("stuck (-want +got):\n%s", diff)
	}
}
