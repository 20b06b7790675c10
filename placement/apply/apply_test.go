package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const shop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 6
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: "whereami:1", resources: {requests: {cpu: 1000m}}}
`

const (
	deployments = "/apis/apps/v1/namespaces/default/deployments"
	shopPath    = deployments + "/shop"
	configMaps  = "/api/v1/namespaces/default/configmaps"
)

// writes are the requests among some that write.
func writes(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(r string) bool { return strings.HasPrefix(r, "GET ") })
}

// wantNoRequests waits for rest, lets something happen, and wants nothing asked of
// any member.
func (h *house) wantNoRequests(t *testing.T, happens func()) {
	t.Helper()
	before := h.quiet(t, time.Second)
	happens()
	for name := range h.quiet(t, time.Second) {
		if asked := h.requests[name].since(before[name]); len(asked) > 0 {
			t.Errorf("%s was asked %q", name, asked)
		}
	}
}

// A diary of one workload in two clusters.
func TestWorkload(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	h, whole := applier(t, "one", host, eu, us).run(t), t

	step(t, "replicas are divided", func(t *testing.T) {
		host.federate(t, "shop", shop, "")
		for _, s := range []*site{eu, us} {
			s.want(t, "3", shopPath, "spec", "replicas")
		}
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionPlaced, "True", "2 clusters have it"))
		host.wantStatus(t, "shop", told.Row("eu", v1alpha1.WorkloadApplied, ""))
		o, err := host.object("shop")
		if err != nil || o.Status.Desired != 6 || o.Status.InClusters != "2/2" || !slices.Contains(o.Finalizers, finalizer) {
			t.Errorf("%v, %+v, %v", err, o.Status, o.Finalizers)
		}
	})

	step(t, "who asks is told what is decided, and why", func(t *testing.T) {
		r, there, err := h.Spread("default", "shop")
		if err != nil || !there || r.Desired != 6 || r.Unplaced != 0 || r.Seen.IsZero() || r.State != "NotReady" || len(r.Clusters) != 2 {
			t.Fatalf("%v %v %+v", err, there, r)
		}
		if c := r.Clusters[0]; c.Cluster != "eu" || c.Goal != 3 || c.Told != 3 || len(c.Reasons) == 0 {
			t.Errorf("%+v", c)
		}
		if _, there, err := h.Spread("default", "nobody"); there || err != nil {
			t.Errorf("nobody: %v %v", there, err)
		}
		if list, err := h.Workloads(); err != nil || len(list) != 1 || list[0].Kind != "Deployment" {
			t.Errorf("%+v %v", list, err)
		}
	})

	step(t, "a steady state asks nothing of anybody", func(t *testing.T) {
		h.wantNoRequests(t, func() {})
		for name, r := range h.requests {
			if w := writes(r.since(0)); len(w) != 1 {
				t.Errorf("%s was written to %q", name, w)
			}
		}
	})

	step(t, "fields of others are left alone", func(t *testing.T) {
		h.wantNoRequests(t, func() {
			eu.patch(t, shopPath, `{"metadata":{"labels":{"team":"a"},"annotations":{"note":"x"}},"spec":{"minReadySeconds":3}}`)
		})
		eu.want(t, "a", shopPath, "metadata", "labels", "team")
	})

	step(t, "fields of ours are mended", func(t *testing.T) {
		eu.patch(t, shopPath, `{"spec":{"replicas":9}}`)
		eu.want(t, "3", shopPath, "spec", "replicas")
		eu.patch(t, shopPath, `{"metadata":{"labels":{"app":null}}}`)
		eu.want(t, "shop", shopPath, "metadata", "labels", "app")
		eu.want(t, "a", shopPath, "metadata", "labels", "team")
		eu.want(t, "3", shopPath, "spec", "minReadySeconds")
		if n := testutil.ToFloat64(h.meter.mended.WithLabelValues("eu")); n != 2 {
			t.Errorf("%v changes were mended", n)
		}
	})

	step(t, "what is deleted by hand is created again", func(t *testing.T) {
		us.delete(t, shopPath)
		us.want(t, "3", shopPath, "spec", "replicas")
	})

	step(t, "a new template reaches all, and what it no longer says goes", func(t *testing.T) {
		host.patch(t, federated+"/shop", `{"spec":{"template":{"metadata":{"labels":{"app":null,"tier":"front"}},"spec":{"replicas":8}}}}`)
		for _, s := range []*site{eu, us} {
			s.want(t, "4", shopPath, "spec", "replicas")
			s.want(t, "front", shopPath, "metadata", "labels", "tier")
			s.want(t, "", shopPath, "metadata", "labels", "app")
		}
		host.wantStatus(t, "shop", func(s v1alpha1.WorkloadStatus) error {
			if len(s.Clusters) != 2 || s.Clusters[0].AppliedGeneration != 2 || s.ObservedGeneration != 2 {
				return fmt.Errorf("generation 2 is not applied")
			}
			return nil
		})
	})

	step(t, "a restart writes nothing, and asks for no object", func(t *testing.T) {
		h.quiet(t, time.Second)
		h.stop()
		h = applier(whole, "one", host, eu, us).run(whole)
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		h.quiet(t, 2*time.Second)
		for name, r := range h.requests {
			if asked := r.since(0); slices.ContainsFunc(asked, func(r string) bool { return strings.HasSuffix(r, "/shop") }) {
				t.Errorf("%s was asked %q", name, asked)
			}
		}
	})

	step(t, "a silent cluster delays nobody", func(t *testing.T) {
		if err := eu.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		host.wantStatus(t, "shop", told.Row("eu", v1alpha1.WorkloadUnreachable, "does not answer"))
		begin := time.Now()
		host.patch(t, federated+"/shop", `{"spec":{"template":{"metadata":{"labels":{"tier":"back"}}}}}`)
		us.want(t, "back", shopPath, "metadata", "labels", "tier")
		t.Logf("the other cluster has it after %s", time.Since(begin))
		if err := eu.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		eu.want(t, "back", shopPath, "metadata", "labels", "tier")
	})

	step(t, "deletion waits for a cluster that is silent", func(t *testing.T) {
		if err := eu.StopAPI(); err != nil {
			t.Fatal(err)
		}
		host.wantStatus(t, "shop", told.Row("eu", v1alpha1.WorkloadUnreachable, ""))
		host.delete(t, federated+"/shop")
		us.wantNone(t, shopPath)
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionPlaced, "False", "Deleting: it is being deleted; eu cannot be asked"))
		if err := eu.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		host.wantNone(t, federated+"/shop")
		eu.wantNone(t, shopPath)
	})
}

// A diary of what stands in the way.
func TestConflict(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	h := applier(t, "one", host, eu, us).run(t)
	const settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}"
	path := configMaps + "/settings"

	step(t, "an object that was there before stays as it is", func(t *testing.T) {
		eu.post(t, configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: red, size: large}}")
		host.federate(t, "settings", settings, "")
		us.want(t, "blue", path, "data", "color")
		host.wantStatus(t, "settings", told.Row("eu", v1alpha1.WorkloadConflict, "AlreadyExists: the cluster has a ConfigMap of this name since"))
		host.wantStatus(t, "settings", told.Condition(v1alpha1.ConditionConflict, "True", "eu: "))
		host.wantStatus(t, "settings", told.Condition(v1alpha1.ConditionPlaced, "False", "Conflict: "))
		h.wantNoRequests(t, func() {})
		if got, err := eu.at(path, "data", "color"); err != nil || got != "red" {
			t.Errorf("%q, %v", got, err)
		}
	})

	step(t, "with adopt it is taken over, but for what others added", func(t *testing.T) {
		host.patch(t, federated+"/settings", `{"spec":{"adopt":true}}`)
		eu.want(t, "blue", path, "data", "color")
		eu.want(t, "large", path, "data", "size")
		host.wantStatus(t, "settings", told.Condition(v1alpha1.ConditionConflict, "False", ""))
	})

	step(t, "what belongs to another FederatedObject is not taken, with adopt neither", func(t *testing.T) {
		host.federate(t, "thief", strings.Replace(settings, "blue", "black", 1), "adopt: true")
		host.wantStatus(t, "thief", told.Row("eu", v1alpha1.WorkloadConflict, "belongs to FederatedObject default/settings"))
		h.wantNoRequests(t, func() {})
		eu.want(t, "blue", path, "data", "color")
		host.delete(t, federated+"/thief")
		host.wantNone(t, federated+"/thief")
		eu.want(t, "blue", path, "data", "color")
	})

	step(t, "an orphan keeps everything but our marks", func(t *testing.T) {
		host.patch(t, federated+"/settings", `{"spec":{"deletion":"Orphan"}}`)
		host.wantStatus(t, "settings", func(s v1alpha1.WorkloadStatus) error {
			if s.ObservedGeneration != 3 {
				return fmt.Errorf("it is not read yet")
			}
			return nil
		})
		host.delete(t, federated+"/settings")
		host.wantNone(t, federated+"/settings")
		o, err := us.get(path)
		if err != nil || o == nil {
			t.Fatal(o, err)
		}
		if text := fmt.Sprint(o.Object); strings.Contains(text, "meridian") || !strings.Contains(text, "blue") {
			t.Errorf("it is %s", text)
		}
	})

	step(t, "a kind that a cluster lacks is a reason, and comes later", func(t *testing.T) {
		const widgets = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: widgets.example.com},
spec: {group: example.com, names: {kind: Widget, plural: widgets}, scope: Namespaced,
versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
		us.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets)
		host.federate(t, "widget", "{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}", "")
		us.want(t, "3", "/apis/example.com/v1/namespaces/default/widgets/w", "spec", "size")
		host.wantStatus(t, "widget", told.Row("eu", v1alpha1.WorkloadRefused, "NoSuchKind: the cluster has no kind Widget"))
		eu.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets)
		eu.want(t, "3", "/apis/example.com/v1/namespaces/default/widgets/w", "spec", "size")
		host.wantStatus(t, "widget", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	})

	step(t, "what a cluster refuses is said in its words, and tried again", func(t *testing.T) {
		const base = "/apis/admissionregistration.k8s.io/v1/"
		eu.post(t, base+"validatingadmissionpolicies", `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: no-red},
spec: {matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]},
validations: [{expression: "!has(object.data) || !('color' in object.data) || object.data.color != 'red'", message: "red is not allowed here"}]}}`)
		eu.post(t, base+"validatingadmissionpolicybindings", "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: no-red}, spec: {policyName: no-red, validationActions: [Deny]}}")
		eventually(t, func() error {
			err := eu.rest().Post().AbsPath(configMaps).Param("dryRun", "All").Body([]byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"probe"},"data":{"color":"red"}}`)).SetHeader("Content-Type", "application/json").Do(t.Context()).Error()
			if err == nil {
				return fmt.Errorf("the policy is not in force")
			}
			return nil
		})
		host.federate(t, "red", "{apiVersion: v1, kind: ConfigMap, metadata: {name: red}, data: {color: red}}", "")
		us.want(t, "red", configMaps+"/red", "data", "color")
		host.wantStatus(t, "red", told.Row("eu", v1alpha1.WorkloadRefused, "red is not allowed here"))
		eu.delete(t, base+"validatingadmissionpolicybindings/no-red")
		eu.want(t, "red", configMaps+"/red", "data", "color")
	})

	step(t, "who changes what we write whenever it is written is answered ever more slowly", func(t *testing.T) {
		path := configMaps + "/red"
		for n := range 3 * contestFree {
			if got, err := us.at(path, "data", "color"); err == nil && got == "red" {
				us.patch(t, path, `{"data":{"color":"green"}}`)
			}
			o, err := host.object("red")
			if err == nil && told.Row("us", v1alpha1.WorkloadWaiting, "Contested: somebody in the cluster changes")(o.Status) == nil {
				t.Logf("it is told after %d rounds", n)
				break
			}
			eventually(t, func() error {
				got, err := us.at(path, "data", "color")
				if o, err2 := host.object("red"); err2 == nil && told.Row("us", v1alpha1.WorkloadWaiting, "Contested")(o.Status) == nil {
					return nil
				}
				if err == nil && got != "red" {
					err = fmt.Errorf("it is %s", got)
				}
				return err
			})
		}
		host.wantStatus(t, "red", told.Row("us", v1alpha1.WorkloadApplied, "")) // when he has tired
		us.want(t, "red", path, "data", "color")
	})

	step(t, "a bad object is a sentence, and its neighbours go on", func(t *testing.T) {
		host.federate(t, "bad", "{apiVersion: v1, kind: ConfigMap, metadata: {name: bad, finalizers: [x.example.com/y]}, data: {a: b}}", "")
		host.wantStatus(t, "bad", told.Condition(v1alpha1.ConditionAccepted, "False", "finalizers"))
		for _, c := range []string{v1alpha1.ConditionPlaced, v1alpha1.ConditionReady} {
			host.wantStatus(t, "bad", told.Condition(c, "False", "see condition Accepted"))
		}
		host.delete(t, federated+"/bad")
		host.wantNone(t, federated+"/bad")
	})
}

// Namespaces come before what is in them, and what a cluster allocated stays.
func TestNamespace(t *testing.T) {
	all := sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	house := applier(t, "one", host, eu).run(t)
	if _, err := host.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	host.post(t, "/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects", `{apiVersion: meridian.dev/v1alpha1, kind: FederatedObject, metadata: {name: web},
spec: {template: {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80}]}}}}`)
	path := "/api/v1/namespaces/shop/services/web"
	eu.want(t, "NodePort", path, "spec", "type")
	eu.want(t, "FederatedObject shop/web", "/api/v1/namespaces/shop", "metadata", "annotations", namespaceAnnotation)
	eu.want(t, "baseline", "/api/v1/namespaces/shop", "metadata", "labels", "pod-security.kubernetes.io/enforce")

	// What the member has made itself is its own.
	own, err := eu.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	host.post(t, "/apis/meridian.dev/v1alpha1/namespaces/theirs/federatedobjects", `{apiVersion: meridian.dev/v1alpha1, kind: FederatedObject, metadata: {name: configmap-a},
spec: {template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}}}`)
	eu.want(t, "v", "/api/v1/namespaces/theirs/configmaps/a", "data", "k")
	if after, err := eu.admin.CoreV1().Namespaces().Get(t.Context(), "theirs", metav1.GetOptions{}); err != nil || after.ResourceVersion != own.ResourceVersion {
		t.Errorf("a namespace of the member's own was written: %v %v", after, err)
	}
	before, err := eu.get(path)
	if err != nil {
		t.Fatal(err)
	}
	host.patch(t, "/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects/web", `{"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}`)
	eu.want(t, "b", path, "metadata", "labels", "a")
	after, err := eu.get(path)
	if err != nil || fmt.Sprint(before.Object["spec"]) != fmt.Sprint(after.Object["spec"]) {
		t.Errorf("%v: the spec became %v and was %v", err, after.Object["spec"], before.Object["spec"])
	}

	// A namespace that ends takes no Events any more, and nobody misses them.
	host.delete(t, "/api/v1/namespaces/shop")
	host.patch(t, "/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects/web", `{"spec":{"template":{"metadata":{"finalizers":["x.example.com/y"]}}}}`)
	eventually(t, func() error {
		o, err := host.get("/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects/web")
		if err == nil && !strings.Contains(fmt.Sprint(o.Object["status"]), "finalizers") {
			err = fmt.Errorf("nothing is said of its finalizers: %v", o.Object["status"])
		}
		return err
	})
	host.delete(t, "/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects/web")
	host.wantNone(t, "/apis/meridian.dev/v1alpha1/namespaces/shop/federatedobjects/web")
	if said := house.said.String(); strings.Contains(said, "what=events") {
		t.Errorf("it is complained of Events: %s", said)
	}
}
