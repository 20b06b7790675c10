package kube

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/fleet"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// again is a keeper with what another one knew, as after a restart: nobody has spoken yet.
func (k *keeper) again() *keeper {
	next := newKeeper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for source, facts := range k.facts {
		next.facts[source], next.stale[source] = maps.Clone(facts), "as on disk"
	}
	return next
}

// diary collects what is logged, for a look at what must not be there.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// onDisk are the kubeconfigs that a state directory holds, by member.
func onDisk(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := readMemory(filepath.Join(dir, "members.json"))
	if err != nil {
		t.Log(err)
	}
	out := map[string]string{}
	for _, r := range list {
		out[r.Name] = string(r.Kubeconfig)
	}
	return out
}

func wantOnDisk(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	eventually(t, func() error {
		if got := onDisk(t, dir); !maps.Equal(got, want) {
			return fmt.Errorf("remembered are %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		return nil
	})
}

// A diary of restarts beside a host cluster that is dead.
func TestMembersAreWatchedWithoutTheHost(t *testing.T) {
	all := sites(t, "host", "eu", "asia")
	host, eu, asia := all["host"], all["eu"], all["asia"]
	host.install(t)
	eu.service(t, "shop", federated, "10.2.0.1")
	asia.service(t, "shop", federated, "10.3.0.1")
	host.join(t, "eu", eu.Kubeconfig())
	host.join(t, "asia", asia.Kubeconfig())
	dir, k := t.TempDir(), newKeeper()
	log := &diary{}
	begin := func() (stop func()) {
		k = k.again()
		return started(t, Config{Host: host.REST(), Tell: k.tell, Known: k.known(), Dir: dir, Member: "here", Log: slog.New(slog.NewTextHandler(log, nil))})
	}
	stop := begin()
	const source, other = "i/kube/eu", "i/kube/asia"
	k.want(t, source, "backend eu/default/shop 10.2.0.1")
	k.want(t, other, "backend asia/default/shop 10.3.0.1")
	k.wantStale(t, "i/kube/host", "")
	wantOnDisk(t, dir, map[string]string{"eu": string(eu.Kubeconfig()), "asia": string(asia.Kubeconfig())})

	step(t, "nobody else may read what is remembered", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "members.json"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*.new")); err != nil || len(left) > 0 {
			t.Errorf("left over: %q, %v", left, err)
		}
	})
	step(t, "the host is dead at the start, and members are followed", func(t *testing.T) {
		stop()
		if err := host.StopAPI(); err != nil {
			t.Fatal(err)
		}
		eu.endpoints(t, "shop", "10.2.0.2")
		begun := time.Now()
		stop = begin()
		k.want(t, source, "backend eu/default/shop 10.2.0.2")
		k.wantStale(t, source, "")
		t.Logf("what a member's pods did meanwhile was known %s after the start", time.Since(begun))
		eu.endpoints(t, "shop", "10.2.0.3")
		k.want(t, source, "backend eu/default/shop 10.2.0.3")
		k.wantStale(t, "i/kube/host", "does not answer")
		k.want(t, "i/kube/host", "cluster asia", "cluster eu")
	})
	step(t, "the host is silent at the start, and members are followed", func(t *testing.T) {
		stop()
		if err := host.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := host.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		eu.endpoints(t, "shop", "10.2.0.4")
		stop = begin()
		k.want(t, source, "backend eu/default/shop 10.2.0.4")
	})
	step(t, "the host is back and says the same: nothing is disturbed", func(t *testing.T) {
		if err := host.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		k.wantStale(t, "i/kube/host", "")
		k.wantNoProblem(t, source)
		eu.endpoints(t, "shop", "10.2.0.5")
		k.want(t, source, "backend eu/default/shop 10.2.0.5")
	})
	rotated := ""
	step(t, "rotated credentials are remembered", func(t *testing.T) {
		reader(t, eu, "services", "endpointslices", "serviceexports", "nodes", "namespaces")
		kubeconfig := tokenOf(t, eu)
		rotated = string(kubeconfig)
		host.credentials(t, "eu", kubeconfig)
		wantOnDisk(t, dir, map[string]string{"eu": rotated, "asia": string(asia.Kubeconfig())})
	})
	step(t, "a member that left while nobody looked goes when the host says so", func(t *testing.T) {
		stop()
		host.delete(t, clustersPath+"/asia")
		if err := host.StopAPI(); err != nil {
			t.Fatal(err)
		}
		eu.endpoints(t, "shop", "10.2.0.6")
		asia.endpoints(t, "shop", "10.3.0.2")
		stop = begin()
		k.want(t, source, "backend eu/default/shop 10.2.0.6")
		k.want(t, other, "backend asia/default/shop 10.3.0.2")
		if err := host.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.want(t, "i/kube/host", "cluster eu")
		k.want(t, other)
		wantOnDisk(t, dir, map[string]string{"eu": rotated})
	})
	step(t, "credentials that the host calls faulty are forgotten, and used as long as they work", func(t *testing.T) {
		host.credentials(t, "eu", []byte("users: [{user: {exec: {command: sh}}}]"))
		k.wantProblem(t, source, "InvalidCredentials")
		wantOnDisk(t, dir, map[string]string{})
		eu.endpoints(t, "shop", "10.2.0.7")
		k.want(t, source, "backend eu/default/shop 10.2.0.7")
		host.credentials(t, "eu", eu.Kubeconfig())
		wantOnDisk(t, dir, map[string]string{"eu": string(eu.Kubeconfig())})
	})
	step(t, "a file that is damaged keeps nobody from starting", func(t *testing.T) {
		stop()
		if err := os.WriteFile(filepath.Join(dir, "members.json"), []byte(`{"version": 1, "members": [{"name": "eu", "kubeconfig": "c2VjcmV0`), 0o600); err != nil {
			t.Fatal(err)
		}
		stop = begin()
		k.wantStale(t, source, "")
		k.want(t, source, "backend eu/default/shop 10.2.0.7")
		wantOnDisk(t, dir, map[string]string{"eu": string(eu.Kubeconfig())})
		if !strings.Contains(log.String(), "it is no valid JSON, so it was damaged") {
			t.Error("nobody was told")
		}
	})
	step(t, "no secret was logged", func(t *testing.T) {
		_, token, found := strings.Cut(rotated, "token: ")
		token, _, _ = strings.Cut(token, "\n")
		if !found || len(token) < 100 {
			t.Fatalf("no token in %q", rotated)
		}
		for _, secret := range []string{token, base64Of([]byte(rotated)), "c2VjcmV0"} {
			if strings.Contains(log.String(), secret) {
				t.Error("a secret was logged")
			}
		}
	})
}

// good is a kubeconfig that passes the door.
func good(token string) []byte {
	return fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
"clusters": [{"name": "x", "cluster": {"server": "https://192.0.2.1"}}], "users": [{"name": "x", "user": {"token": %q}}]}`, token)
}

// What lies on disk is judged at the door, member by member, and never shown.
func TestMemoryIsJudgedAtTheDoor(t *testing.T) {
	file := func(members ...string) string {
		return `{"version": 1, "members": [` + strings.Join(members, ",") + `]}`
	}
	entry := func(name string, kubeconfig []byte) string {
		return fmt.Sprintf(`{"name": %q, "kubeconfig": %q, "generation": 3, "created": "2026-01-02T03:04:05Z"}`, name, base64Of(kubeconfig))
	}
	plugin := bytes.ReplaceAll(good("s3cret"), []byte(`"token"`), []byte(`"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never"}, "token"`))
	many := make([]string, maxSecrets+1)
	for n := range many {
		many[n] = entry("a", nil)
	}
	for name, c := range map[string]struct {
		text string
		want []string
		says string // in the log
	}{
		"good":       {file(entry("eu", good("s3cret")), entry("us", good("s3cret"))), []string{"eu", "us"}, ""},
		"nothing":    {"", nil, "no valid JSON"},
		"cut off":    {file(entry("eu", good("s3cret")))[:200], nil, "no valid JSON"},
		"older":      {`{"members": [` + entry("eu", good("s3cret")) + `]}`, nil, "it is of version 0, and this program reads version 1"},
		"newer":      {`{"version": 2, "members": {}, "s3cret": 1}`, nil, "no valid JSON"},
		"newer form": {`{"version": 2, "members": [], "s3cret": 1}`, nil, "it is of version 2"},
		"too many":   {file(many...), nil, "at most 2000 are read"},
		"a plugin":   {file(entry("eu", plugin), entry("us", good("s3cret"))), []string{"us"}, "users[].user.exec: is refused"},
		"loopback":   {file(entry("eu", bytes.ReplaceAll(good("s3cret"), []byte("192.0.2.1"), []byte("127.0.0.1")))), nil, "is loopback"},
		"a bad name": {file(entry("../eu", good("s3cret")), entry("us", good("s3cret"))), []string{"us"}, `cluster="\"../eu\""`},
		"the host":   {file(entry("host", good("s3cret"))), nil, "is the name of the host cluster"},
		"twice":      {file(entry("eu", good("s3cret")), entry("eu", good("other"))), []string{"eu"}, "it is there twice"},
		"our own":    {file(entry("here", good("s3cret"))), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir, log := t.TempDir(), &diary{}
			if err := os.WriteFile(filepath.Join(dir, "members.json"), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			m := newMemory(dir, "here", credentials.Options{}, slog.New(slog.NewTextHandler(log, nil)))
			if got := slices.Sorted(maps.Keys(m.members)); !slices.Equal(got, c.want) {
				t.Errorf("remembered are %q, want %q", got, c.want)
			}
			if said := log.String(); !strings.Contains(said, c.says) || (c.says == "") != (said == "") || strings.Contains(said, "s3cret") {
				t.Errorf("logged %q, want %q", said, c.says)
			}
			if a := m.members["us"]; a != nil {
				want := fleet.Origin{Cluster: "host", Kind: "Cluster", Name: "us", Generation: 3, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
				if a.about != want || a.token != tokenOfKubeconfig(good("s3cret")) || a.config.BearerToken != "s3cret" {
					t.Errorf("%+v", a.about)
				}
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		dir, log := t.TempDir(), &diary{}
		f, err := os.Create(filepath.Join(dir, "members.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Truncate(maxMemory+1), f.Close()); err != nil {
			t.Fatal(err)
		}
		if m := newMemory(dir, "", credentials.Options{}, slog.New(slog.NewTextHandler(log, nil))); len(m.members) > 0 || !strings.Contains(log.String(), "larger than 64 MiB") {
			t.Errorf("%q", log)
		}
	})
}

// What the host says is taken over; what it cannot say now is no reason to forget.
func TestMemoryLearns(t *testing.T) {
	m := newMemory(t.TempDir(), "", credentials.Options{}, slog.New(slog.DiscardHandler))
	of := func(token string) *access { return &access{kubeconfig: good(token)} }
	learnt := func(want string, members map[string]*access) {
		t.Helper()
		m.learn(members)
		var got []string
		for _, r := range m.recollections() {
			var k struct {
				Users []struct{ User struct{ Token string } }
			}
			if err := json.Unmarshal(r.Kubeconfig, &k); err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Name+"="+k.Users[0].User.Token)
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("remembered are %q, want %q", text, want)
		}
	}
	learnt("eu=1 us=2", map[string]*access{"eu": of("1"), "us": of("2")})
	learnt("eu=1 us=3", map[string]*access{"eu": nil, "us": of("3"), "new": nil})
	learnt("eu=1 us=3", map[string]*access{"eu": {fault: "we may not read it", unread: true}, "us": {fault: "no answer", unread: true, kubeconfig: good("3")}, "here": {token: "own"}})
	if m.members["us"].fault != "" {
		t.Error("a fault is remembered")
	}
	learnt("us=3", map[string]*access{"eu": {fault: "it does not exist"}, "us": of("3")})
	learnt("", nil)
	if list := <-m.pages; len(list) != 0 {
		t.Errorf("to be written is %v, which is not the last", list)
	}
	none := newMemory("", "", credentials.Options{}, slog.New(slog.DiscardHandler))
	none.learn(map[string]*access{"eu": of("1")})
	if len(none.pages) > 0 {
		t.Error("it is written nowhere")
	}
}

// A disk that fails is tried again, and one that stands still keeps nobody waiting.
func TestMemoryAndABadDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &diary{}
		m := newMemory("state", "", credentials.Options{}, slog.New(slog.NewTextHandler(log, nil)))
		stands := make(chan struct{})
		var fails atomic.Bool
		fails.Store(true)
		written := make(chan string, 10)
		m.write = func(_ string, body []byte) error {
			<-stands
			if fails.Load() {
				return errors.New("no space left")
			}
			written <- string(body)
			return nil
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.run()
		}()
		for _, token := range []string{"1", "2", "3"} {
			m.learn(map[string]*access{"eu": {kubeconfig: good(token)}})
			synctest.Wait()
		}
		close(stands)
		synctest.Wait()
		time.Sleep(3 * rewriteEvery)
		synctest.Wait()
		if n := strings.Count(log.String(), "no space left"); n != 1 || len(written) > 0 {
			t.Errorf("said %d times, written %d", n, len(written))
		}
		fails.Store(false)
		time.Sleep(2 * rewriteEvery)
		synctest.Wait()
		m.learn(nil)
		close(m.pages)
		<-done
		close(written)
		var got []string
		for text := range written {
			got = append(got, text)
		}
		if len(got) != 2 || !strings.Contains(got[0], base64Of(good("3"))) || got[1] != `{"version":1,"members":[]}` {
			t.Errorf("written: %q", got)
		}
	})
}
