package install

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// leavers are two API servers, of which the one is a member of the other and takes workloads.
type leavers struct {
	*testing.T
	host, member *Reach
}

func (l *leavers) join() {
	l.Helper()
	if err := poll(l.Context(), func(ctx context.Context) (bool, error) { // until it has left for good
		ns, err := l.member.kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp == nil, nil
	}); err != nil {
		l.Fatal(err)
	}
	j := Joining{Membership: Membership{Name: "us-1", Region: "us-east1"}, Workloads: DefaultWorkloads()}
	if _, err := Join(l.Context(), l.member, l.host, j, false, Progress{}); err != nil {
		l.Fatal(err)
	}
}

// federate writes a workload in the host as a daemon has placed it.
func (l *leavers) federate(name, template, clusters string) types.UID {
	l.Helper()
	client := l.host.dynamic.Resource(federatedResource).Namespace("default")
	o := fares(l.T, template, "", "")
	o.SetName(name)
	o.SetNamespace("default")
	o.SetGeneration(0)
	unstructured.RemoveNestedField(o.Object, "status")
	made, err := client.Create(l.Context(), o, metav1.CreateOptions{})
	if err != nil {
		l.Fatal(err)
	}
	l.tell(name, clusters)
	return made.GetUID()
}

// tell is what a daemon tells of a workload.
func (l *leavers) tell(name, clusters string) {
	l.Helper()
	status, err := json.Marshal(map[string]any{"status": fares(l.T, someWeb, "", fmt.Sprintf("observedGeneration: 1, desired: 9, ready: 9, unschedulable: 0, clusters: [%s]", clusters)).Object["status"]})
	if err != nil {
		l.Fatal(err)
	}
	if _, err := l.host.dynamic.Resource(federatedResource).Namespace("default").Patch(l.Context(), name, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		l.Fatal(err)
	}
}

// place writes objects in the member as the host does.
func (l *leavers) place(name string, by types.UID) {
	l.Helper()
	meta := metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{placement.LabelPlaced: "true", "app": "x"},
		Annotations: map[string]string{placement.AnnotationPlacedBy: string(by), placement.AnnotationApplied: "x", "mine": "y"}}
	kube, asOurs := l.member.kube, metav1.CreateOptions{FieldManager: placement.Manager}
	if _, err := kube.CoreV1().ConfigMaps("default").Create(l.Context(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "b"}}, asOurs); err != nil {
		l.Fatal(err)
	}
	set := &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}}}
	if _, err := kube.AppsV1().ReplicaSets("default").Create(l.Context(), set, asOurs); err != nil {
		l.Fatal(err)
	}
}

// there are the ConfigMaps and ReplicaSets of the member.
func (l *leavers) there() (names []string) {
	l.Helper()
	maps, err := l.member.kube.CoreV1().ConfigMaps("default").List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	sets, err := l.member.kube.AppsV1().ReplicaSets("default").List(l.Context(), metav1.ListOptions{})
	if err != nil {
		l.Fatal(err)
	}
	for _, m := range maps.Items {
		names = append(names, "map "+m.Name)
	}
	for _, s := range sets.Items {
		names = append(names, "set "+s.Name)
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "map kube-root-ca.crt" })
}

func (l *leavers) want(names ...string) {
	l.Helper()
	if got := l.there(); !slices.Equal(got, names) {
		l.Errorf("the member has %q, want %q", got, names)
	}
}

// unjoin lets the member go, while a story is played beside it.
func (l *leavers) unjoin(o Leaving, story func(said *bytes.Buffer)) (string, error) {
	l.Helper()
	o.Name = "us-1"
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	var said bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); story(&said) }()
	err := Unjoin(ctx, l.member, l.host, o, Progress{W: &said})
	<-done
	return said.String(), err
}

func nothing(*bytes.Buffer) {}

// other makes another member, so that there is one to go to.
func (l *leavers) other() {
	l.Helper()
	m := Membership{Name: "eu-1", Region: "europe-west1", Place: fleet.Place{Lat: 50, Lon: 4}}
	if _, err := l.host.dynamic.Resource(clustersResource).Create(l.Context(), m.object(), metav1.CreateOptions{}); err != nil {
		l.Fatal(err)
	}
}

// TestUnjoinMovesWorkloads: who leaves is waited for, and nothing of ours is left there,
// or everything, as somebody wants it.
func TestUnjoinMovesWorkloads(t *testing.T) {
	l := &leavers{T: t, host: bareServer(t, "host", "10.1.0.21"), member: reach(t, started(t, "member", "10.1.0.22"))}
	ctx := t.Context()
	if _, _, err := Init(ctx, l.host, Settings{Region: "europe-west1"}, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	l.join()
	here := "{cluster: us-1, desired: 9, ready: 9, state: Leaving, message: waits until the others are ready}"
	elsewhere := "{cluster: eu-1, desired: 9, ready: 9, state: Applied}"
	uid := l.federate("web", someWeb, here)
	l.place("web", uid)
	l.place("stranger", "somebody")

	t.Run("the last member has nowhere to go", func(t *testing.T) {
		_, err := l.unjoin(Leaving{}, nothing)
		if err == nil || !strings.Contains(err.Error(), "us-1 is the last member, so there is no other cluster for 1 workload with 9 replicas there") {
			t.Error(err)
		}
	})
	l.other()
	t.Run("a dry run says what would move and what would go", func(t *testing.T) {
		var said, out bytes.Buffer
		parts, err := Foresee(ctx, l.member, l.host, Leaving{Name: "us-1"}, Progress{W: &said})
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteYAML(&out, parts); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said.String(), "Deployment default/web: 9 replicas: waits") || !strings.Contains(said.String(), "host does not have, and stay: ConfigMap default/stranger, ReplicaSet default/stranger") {
			t.Errorf("%s", &said)
		}
		if text := out.String(); strings.Count(text, "name: web") != 2 || strings.Contains(text, "stranger") || !strings.Contains(text, "kind: ClusterRoleBinding") {
			t.Errorf("%s", text)
		}
		l.want("map stranger", "map web", "set stranger", "set web")
	})
	t.Run("who has no patience is told how to go on", func(t *testing.T) {
		said, err := l.unjoin(Leaving{Timeout: 4 * time.Second}, nothing)
		if err == nil || !strings.Contains(err.Error(), "us-1 still has 1 workload with 9 replicas there") || !strings.Contains(err.Error(), "still a member and still drains") {
			t.Errorf("%v\n%s", err, said)
		}
		c, err := l.host.dynamic.Resource(clustersResource).Get(ctx, "us-1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if draining, _, _ := unstructured.NestedBool(c.Object, "spec", "draining"); !draining {
			t.Error("it does not drain")
		}
		l.want("map stranger", "map web", "set stranger", "set web")
	})
	t.Run("when all is ready elsewhere the member goes, and what was placed there", func(t *testing.T) {
		var told time.Time
		said, err := l.unjoin(Leaving{}, func(*bytes.Buffer) {
			<-time.After(2 * time.Second)
			l.tell("web", elsewhere+", "+strings.Replace(here, "desired: 9, ready: 9", "desired: 2, ready: 2", 1))
			<-time.After(5 * time.Second)
			told = time.Now()
			l.tell("web", elsewhere)
		})
		if err != nil || told.IsZero() {
			t.Fatalf("%v\n%s", err, said)
		}
		for _, want := range []string{"These move to other clusters", "  … 1 workload with 2 replicas there\n    Deployment default/web: 2 replicas", "  ConfigMap default/web deleted", "  ReplicaSet default/web deleted",
			"ClusterRoleBinding meridian:workloads deleted", "Cluster us-1 deleted", "stay: ConfigMap default/stranger, ReplicaSet default/stranger."} {
			if !strings.Contains(said, want) {
				t.Errorf("no %q in\n%s", want, said)
			}
		}
		if strings.Index(said, "ConfigMap default/web deleted") > strings.Index(said, "Cluster us-1 deleted") {
			t.Error("it was no member any more when it was swept, so that could not have been gone on with")
		}
		l.want("map stranger", "set stranger")
		if _, err := l.member.kube.CoreV1().ServiceAccounts(Namespace).Get(ctx, memberAccount, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	t.Run("what is kept is nobody's", func(t *testing.T) {
		l.join()
		l.tell("web", here)
		l.place("web", uid)
		said, err := l.unjoin(Leaving{Keep: true, Grace: time.Second}, nothing)
		if err != nil || !strings.Contains(said, "What runs there goes on running as nobody's") || !strings.Contains(said, "ReplicaSet default/web left to the cluster") {
			t.Fatalf("%v\n%s", err, said)
		}
		if strings.Index(said, "ClusterRoleBinding meridian:workloads deleted") > strings.Index(said, "drains for 1s") {
			t.Errorf("it drained before nobody could take anything away:\n%s", said)
		}
		l.want("map stranger", "map web", "set stranger", "set web")
		m, err := l.member.kube.CoreV1().ConfigMaps("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Labels[placement.LabelPlaced] != "" || m.Annotations[placement.AnnotationPlacedBy] != "" || m.Annotations["mine"] != "y" || m.Data["a"] != "b" {
			t.Errorf("%+v", m)
		}
		for _, f := range m.ManagedFields {
			if f.Manager == placement.Manager {
				t.Errorf("our name stays: %+v", f)
			}
		}
		if err := l.member.kube.CoreV1().ConfigMaps("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := l.member.kube.AppsV1().ReplicaSets("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("by force nobody is waited for, and what a dead member has stays", func(t *testing.T) {
		l.join()
		l.place("web", uid)
		var said bytes.Buffer
		if err := Unjoin(ctx, nil, l.host, Leaving{Name: "us-1", Force: true}, Progress{W: &said}); err != nil || !strings.Contains(said.String(), "What was placed there stays there") {
			t.Fatalf("%v\n%s", err, &said)
		}
		l.want("map stranger", "map web", "set stranger", "set web")
		again, err := l.unjoin(Leaving{}, nothing) // when it can be reached
		if err != nil || !strings.Contains(again, "ReplicaSet default/web deleted") {
			t.Errorf("%v\n%s", err, again)
		}
		l.want("map stranger", "set stranger")
	})
}
