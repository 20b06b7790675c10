package install

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The volumes of a StatefulSet cannot be changed. Who wants it hears how it is done
// without a pod going, and that works.
func TestAnotherVolumeIsWanted(t *testing.T) {
	eu := bareServer(t, "eu", "10.1.0.36")
	ctx := t.Context()
	if _, _, err := Init(ctx, eu, Settings{Region: "europe-west1"}, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	larger := Settings{Values: map[string]any{"meridiand": map[string]any{"persistence": map[string]any{"size": "2Gi"}}}}
	_, _, err := Init(ctx, eu, larger, false, Progress{})
	if err == nil || !strings.Contains(err.Error(), "kubectl --context eu -n meridian-system delete statefulset meridiand --cascade=orphan") {
		t.Fatalf("got %v", err)
	}
	sets := eu.kube.AppsV1().StatefulSets(Namespace) // without controllers, so there are no pods to be left
	if err := sets.Delete(ctx, daemonAccount, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Init(ctx, eu, Settings{}, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	set, err := sets.Get(ctx, daemonAccount, metav1.GetOptions{})
	if err != nil || set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String() != "2Gi" {
		t.Errorf("%v %+v", err, set.Spec.VolumeClaimTemplates)
	}
}
