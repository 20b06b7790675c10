package install

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/internal/lab"
)

// A real Envoy starts with what the chart and init give it, also where YAML would take
// words for a truth value (the region "no") and a number, calls itself as its
// certificate lets it, and obeys the command that drains it.
func TestGatewayStarts(t *testing.T) {
	envoy := lab.Envoy(t)
	parts, err := Offline(Settings{Region: "no", Network: "1234", Values: map[string]any{"gateway": map[string]any{"drainSeconds": int64(1)}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	etc, identity := filepath.Join(dir, "etc"), filepath.Join(dir, "identity")
	port := freePort(t)
	inside := strings.NewReplacer("/etc/envoy", etc, "/etc/meridian/identity", identity, "port_value: 9901", fmt.Sprintf("port_value: %d", port), "/127.0.0.1/9901", fmt.Sprintf("/127.0.0.1/%d", port))
	var args, drain []string
	for _, o := range parts[0].Objects {
		switch name(o) {
		case "ConfigMap " + Namespace + "/meridian-gateway":
			data, _, _ := unstructured.NestedStringMap(o.Object, "data")
			for file, body := range data {
				write(t, filepath.Join(etc, file), []byte(inside.Replace(body)))
			}
		case "Secret " + Namespace + "/" + SecretGateway:
			data, _, _ := unstructured.NestedStringMap(o.Object, "data")
			for file, body := range data {
				raw, err := base64.StdEncoding.DecodeString(body)
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(identity, file), raw)
			}
		case "Deployment " + Namespace + "/meridian-gateway":
			list, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			container := list[0].(map[string]any)
			args, _, _ = unstructured.NestedStringSlice(container, "args")
			drain, _, _ = unstructured.NestedStringSlice(container, "lifecycle", "preStop", "exec", "command")
		}
	}
	pod := strings.NewReplacer("$(POD_NAME)", "pod-1", "$(ZONE)", "no-b")
	for i := range args {
		args[i] = pod.Replace(inside.Replace(args[i]))
	}
	group := lab.Begin(t)
	admin := fmt.Sprintf("http://127.0.0.1:%d", port)
	get := func(path string) string {
		resp, err := http.Get(admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if _, err := group.Start(lab.Command{Name: "envoy", Path: envoy, Args: args, Log: filepath.Join(dir, "log"), Ready: lab.HTTPReady(admin + "/server_info"), ReadyTimeout: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	info := get("/server_info")
	for _, want := range []string{`"id": "gateways.pod-1"`, `"region": "no"`, `"zone": "no-b"`, `"network": "1234"`} {
		if !strings.Contains(info, want) {
			t.Errorf("the Envoy does not say %s:\n%s", want, info)
		}
	}
	if !strings.Contains(drain[2], "cat <&3 >/dev/null") {
		t.Fatalf("the draining command has changed:\n%s", drain[2])
	}
	aloud := strings.Replace(inside.Replace(drain[2]), "cat <&3 >/dev/null", "cat <&3", 1)
	begin := time.Now()
	out, err := exec.CommandContext(t.Context(), drain[0], drain[1], aloud).CombinedOutput()
	if took := time.Since(begin); err != nil || took < time.Second || !strings.HasPrefix(string(out), "HTTP/1.1 200 OK") {
		t.Errorf("draining: %v after %s\n%s", err, took, out)
	}
	if info := get("/server_info"); !strings.Contains(info, `"state"`) {
		t.Errorf("the Envoy has left before it was told to end:\n%s", info)
	}
}

func write(t *testing.T, file string, body []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
