package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/internal/lab/node"
)

// TestKinds is about what pods are made of: files, variables, daemons and jobs.
func TestKinds(t *testing.T) {
	w := newWorld(t, map[string]node.Image{"sh": node.Program("/bin/sh"), "pause": nil})
	ctx := t.Context()
	out := t.TempDir()

	t.Run("files follow their ConfigMap", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {tier: gold}}
spec:
  nodeSelector: {topology.kubernetes.io/zone: b}
  terminationGracePeriodSeconds: 5
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, items: [{key: a, path: deep/a}]}}
  containers:
  - name: sh
    image: sh
    command: [sh, -c]
    args: ['cp -rL /etc/settings /etc/keys ` + out + `; cp /var/run/secrets/kubernetes.io/serviceaccount/token ` + out + `; env >` + out + `/env; echo started; exec sleep 600']
    volumeMounts: [{name: settings, mountPath: /etc/settings}, {name: keys, mountPath: /etc/keys}]
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ADDR, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: a}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
    - {name: ALL, value: "$(WHO) at $(WHERE), $$(WHO), $(UNKNOWN)"}
    - {name: FILE, value: /etc/settings/greeting}
`)
		w.eventually("it waits for what it needs", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "reader", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, `ConfigMap "settings" is not there`) {
					return nil
				}
			}
			return fmt.Errorf("its status is %+v", p.Status)
		})
		w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {greeting: hello}\n---\n" +
			"apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: s3cret, b: other}\n")
		var pod *corev1.Pod
		w.eventually("it runs", func(ctx context.Context) (err error) {
			pod, err = w.client.CoreV1().Pods("default").Get(ctx, "reader", metav1.GetOptions{})
			if err == nil && (pod.Status.Phase != corev1.PodRunning || len(read(out+"/env")) == 0) {
				err = fmt.Errorf("it is %s", pod.Status.Phase)
			}
			return err
		})
		env := strings.Split(read(out+"/env"), "\n")
		for _, want := range []string{
			"WHO=reader", "WHERE=node-b", "ADDR=" + pod.Status.PodIP, "TIER=gold", "GREETING=hello", "KEY=s3cret",
			"ALL=reader at node-b, $(WHO), $(UNKNOWN)", "KUBERNETES_SERVICE_HOST=10.1.0.1",
		} {
			if !slices.Contains(env, want) {
				t.Errorf("its environment lacks %s: %q", want, env)
			}
		}
		if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "NONE=") }) {
			t.Error("an optional key that is not there makes a variable")
		}
		if got := read(out+"/settings/greeting") + read(out+"/keys/deep/a"); got != "hellos3cret" {
			t.Errorf("its files hold %q", got)
		}
		file := ""
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, "FILE="); ok {
				file = v
			}
		}
		if got := read(file); got != "hello" {
			t.Fatalf("the variable that names a file leads to %q, which holds %q", file, got)
		}
		change := []byte(`{"data":{"greeting":"good evening","more":"x"}}`)
		if _, err := w.client.CoreV1().ConfigMaps("default").Patch(ctx, "settings", types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the file changes", func(context.Context) error {
			if got := read(file) + read(filepath.Dir(file)+"/more"); got != "good eveningx" {
				return fmt.Errorf("it holds %q", got)
			}
			return nil
		})
		kubeconfig, err := w.cluster.KubeconfigWithToken("reader", read(out+"/token"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		asPod, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		who, err := asPod.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" || who.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"][0] != "reader" {
			t.Errorf("its token makes it %+v, %v", who, err)
		}
		log, err := w.client.CoreV1().Pods("default").GetLogs("reader", &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || string(log) != "started\n" {
			t.Errorf("its log is %q, %v", log, err)
		}
	})

	t.Run("a container that dies starts again", func(t *testing.T) {
		w.t = t
		w.apply(pod("mortal", "Always", "echo dying; exit 3"))
		w.eventually("it has started three times", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "mortal", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].RestartCount >= 2 && s[0].LastTerminationState.Terminated != nil {
				if last := s[0].LastTerminationState.Terminated; last.ExitCode != 3 || last.Message != "dying" {
					t.Errorf("its last end was %+v", last)
				}
				return nil
			}
			return errors.New("not yet")
		})
	})

	t.Run("a daemon runs on every node", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec:
  selector: {matchLabels: {app: daemon}}
  template:
    metadata: {labels: {app: daemon}}
    spec: {containers: [{name: x, image: pause}]}
`)
		w.eventually("it is ready on both", func(ctx context.Context) error {
			d, err := w.client.AppsV1().DaemonSets("default").Get(ctx, "daemon", metav1.GetOptions{})
			if err == nil && (d.Status.NumberReady != 2 || d.Status.DesiredNumberScheduled != 2) {
				err = fmt.Errorf("%+v", d.Status)
			}
			return err
		})
	})

	t.Run("a job ends", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: x, image: sh, args: ["-c", "exit 0"]}]
`)
		w.eventually("it is complete", func(ctx context.Context) error {
			j, err := w.client.BatchV1().Jobs("default").Get(ctx, "job", metav1.GetOptions{})
			if err == nil && (j.Status.Succeeded != 2 || j.Status.CompletionTime == nil) {
				err = fmt.Errorf("%+v", j.Status)
			}
			return err
		})
	})

	t.Run("a pod that is told to go has time for it", func(t *testing.T) {
		w.t = t
		w.apply(pod("polite", "Always", "trap 'sleep 0.3; echo bye >"+out+"/bye; exit 0' TERM; echo >"+out+"/up; while :; do sleep 0.02; done"))
		w.apply(pod("deaf", "Always", "trap '' TERM; echo >"+out+"/deaf; while :; do sleep 0.02; done"))
		w.eventually("they run", func(context.Context) error {
			if read(out+"/up") == "" || read(out+"/deaf") == "" {
				return errors.New("not yet")
			}
			return nil
		})
		second := int64(1)
		for name, grace := range map[string]*int64{"polite": nil, "deaf": &second} {
			if err := w.client.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		w.eventually("they are gone", func(ctx context.Context) error {
			for _, name := range []string{"polite", "deaf"} {
				if _, err := w.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("%s is there: %w", name, err)
				}
			}
			return nil
		})
		if read(out+"/bye") == "" || time.Since(begin) < time.Second {
			t.Errorf("gone after %s, having said %q", time.Since(begin), read(out+"/bye"))
		}
	})

	t.Run("hundreds of pods without a process", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 300
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec: {containers: [{name: x, image: pause, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: crowd}
spec: {selector: {app: crowd}, ports: [{port: 80}]}
`)
		addrs := w.wantReady("all are ready", "crowd", 300)
		if unique := slices.Compact(slices.Clone(addrs)); len(unique) != 300 {
			t.Errorf("300 pods share %d addresses", len(unique))
		}
		if err := w.client.AppsV1().Deployments("default").Delete(ctx, "crowd", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually("all are gone", func(ctx context.Context) error {
			pods, err := w.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=crowd"})
			if err == nil && len(pods.Items) > 0 {
				err = fmt.Errorf("%d are there", len(pods.Items))
			}
			return err
		})
	})

	t.Run("a node that loses its power comes back", func(t *testing.T) {
		w.t = t
		w.apply(strings.Replace(pod("phoenix", "Always", "echo $$ >"+out+"/pid; exec sleep 600"), "spec:", "spec:\n  nodeName: node-b", 1))
		var before *corev1.Pod
		runs := func(restarts int32) func(context.Context) error {
			return func(ctx context.Context) error {
				p, err := w.client.CoreV1().Pods("default").Get(ctx, "phoenix", metav1.GetOptions{})
				if err != nil {
					return err
				}
				if s := p.Status.ContainerStatuses; len(s) != 1 || s[0].State.Running == nil || s[0].RestartCount != restarts || read(out+"/pid") == "" {
					return fmt.Errorf("its status is %+v", p.Status)
				}
				before = p
				return nil
			}
		}
		w.eventually("it runs", runs(0))
		addr, pid := before.Status.PodIP, strings.TrimSpace(read(out+"/pid"))
		w.off["node-b"]()
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its process outlived its node: %v", err)
		}
		w.off["node-b"] = w.run(w.nodes["node-b"].Run)
		w.eventually("it runs again", runs(1))
		if before.Status.PodIP != addr {
			t.Errorf("its address was %s and is %s", addr, before.Status.PodIP)
		}
	})

	t.Run("an image that nobody has", func(t *testing.T) {
		w.t = t
		w.apply(strings.ReplaceAll(pod("stranger", "Always", ""), "image: sh", "image: nginx:latest"))
		w.eventually("its status says so", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "stranger", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, `no image "nginx:latest"; it has pause, sh`) {
					return nil
				}
			}
			return fmt.Errorf("its status is %+v", p.Status)
		})
	})
}

func pod(name, policy, script string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: %s
  containers: [{name: x, image: sh, args: ["-c", %q]}]
`, name, policy, script)
}
