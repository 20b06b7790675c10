//go:build unix

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentEnv makes this test binary play the parent that dies without a word.
const parentEnv = "LAB_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) != "" {
		parent()
	}
	os.Exit(m.Run())
}

func parent() {
	p, err := Start(context.Background(), Command{Path: "/bin/sleep", Args: []string{"600"}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	select {}
}

func sh(script string) Command {
	return Command{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}}
}

// printed is a Ready that waits for a word in the log of a file.
func printed(file, word string) func(context.Context) error {
	return func(context.Context) error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !strings.Contains(string(b), word) {
			return fmt.Errorf("%q is not in the log yet", word)
		}
		return nil
	}
}

// started starts a script that says "up" when it is.
func started(t *testing.T, script string) *Process {
	t.Helper()
	c := sh(script)
	c.Log = filepath.Join(t.TempDir(), "log")
	c.Ready = printed(c.Log, "up")
	c.Grace = 200 * time.Millisecond
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

// wantGone polls, for nobody tells us of the end of somebody else's child.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for alive(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// alive reports whether the process runs; a zombie that nobody reaps does not.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestStop(t *testing.T) {
	const obedient = `trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done`
	tests := []struct {
		name   string
		script string
		end    func(*Process) error
		bye    bool // whether it had the time to say so
	}{
		{"a child that obeys", obedient, (*Process).Stop, true},
		{"a deaf child is killed after its grace", `trap 'echo what?' TERM; echo up; while :; do sleep 0.01; done`, (*Process).Stop, false},
		{"a kill leaves no time", obedient, (*Process).Kill, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := started(t, tt.script)
			if err := p.Err(); err != nil {
				t.Fatalf("while it runs: %v", err)
			}
			if err := tt.end(p); err != nil {
				t.Errorf("an end that we asked for is no error, but got %v", err)
			}
			<-p.Done()
			wantGone(t, p.PID())
			if got := p.Log(); !strings.HasPrefix(got, "up\n") || strings.Contains(got, "bye") != tt.bye {
				t.Errorf("it printed %q; want it to say bye: %v", got, tt.bye)
			}
			if err := errors.Join(p.Stop(), p.Kill()); err != nil {
				t.Errorf("stopping it again: %v", err)
			}
			if got, want := p.ExitCode(), map[bool]int{true: 3, false: 128 + 9}[tt.bye]; got != want {
				t.Errorf("its exit status is %d, want %d", got, want)
			}
			if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("a signal to the dead says %v", err)
			}
		})
	}
}

func TestStopTakesTheWholeFamily(t *testing.T) {
	p := started(t, `sleep 600 & echo $! up; wait`)
	grandchild, err := strconv.Atoi(strings.Fields(p.Log())[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, grandchild)
}

// TestPause pauses a child that counts, and finds it where it was.
func TestPause(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	p := started(t, `trap 'echo bye; exit' TERM; echo up; i=0; while :; do i=$((i+1)); echo $i >`+file+`; done`)
	count := func() string {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
	advance := func(from string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); count() == from || count() == ""; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not go on from %q", from)
			}
		}
	}
	advance("")
	for range 2 { // the second finds it paused already
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if _, state, _ := strings.Cut(string(stat), ") "); runtime.GOOS == "linux" && (err != nil || !strings.HasPrefix(state, "T")) {
		t.Errorf("paused, its state is %.1q, %v", state, err)
	}
	before := count()
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	advance(before)
	if err := errors.Join(p.Pause(), p.Stop()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.Log(), "bye") {
		t.Errorf("paused and told to stop it said no good-bye: %q", p.Log())
	}
	if err := p.Pause(); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("pausing the dead says %v", err)
	}
}

func TestUnexpectedDeath(t *testing.T) {
	cue := filepath.Join(t.TempDir(), "cue")
	p := started(t, `echo up; while [ ! -e `+cue+` ]; do sleep 0.01; done; i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); done; exit 7`)
	if err := os.WriteFile(cue, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.ExitCode(); got != -1 && got != 7 {
		t.Errorf("its exit status is %d", got)
	}
	<-p.Done()
	if got := p.ExitCode(); got != 7 {
		t.Errorf("its exit status is %d, want 7", got)
	}
	err := p.Stop()
	if err == nil {
		t.Fatal("the child died by itself, but Stop says nothing")
	}
	for _, want := range []string{"child ended by itself (exit status 7)", "| line 39"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 10\n") {
		t.Errorf("the error has more than the last lines:\n%v", err)
	}
	if !errors.Is(err, p.Err()) {
		t.Errorf("Err says something else: %v", p.Err())
	}
}

func TestStartFails(t *testing.T) {
	notYet := func(context.Context) error { return errors.New("port closed") }
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	tests := []struct {
		name   string
		ctx    context.Context
		change func(*Command)
		want   []string
	}{
		{"no such program", t.Context(), func(c *Command) { c.Path = "/no/such/program" }, []string{"starting child", "no such file"}},
		{"a log that cannot be made", t.Context(), func(c *Command) { c.Log = filepath.Join(dir, "no", "log") }, []string{"starting child: making its log"}},
		{"never ready", t.Context(), func(c *Command) { c.Ready, c.ReadyTimeout = notYet, 60*time.Millisecond }, []string{"starting child: not ready after 60ms", "port closed"}},
		{"dead before it is ready", t.Context(), func(c *Command) { c.Args[1], c.Ready = "echo no licence; exit 4", notYet }, []string{"child ended by itself (exit status 4)", "| no licence"}},
		{"dead without a word", t.Context(), func(c *Command) { c.Args[1], c.Ready = "exit 4", notYet }, []string{"(exit status 4); it printed nothing"}},
		{"nobody waits for it any more", cancelled, func(c *Command) { c.Ready = notYet }, []string{context.Canceled.Error()}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := sh("exec sleep 600")
			tt.change(&c)
			p, err := Start(tt.ctx, c)
			if err == nil {
				t.Fatalf("it started: %v", p.Kill())
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

// TestDiesWithParent kills a parent that has no time to clean up.
func TestDiesWithParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed, and says so
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent printed %q (%v)", line, readErr)
	}
	wantGone(t, child)
}

// diary is a command that writes its name into a file when it is told to stop.
func diary(t *testing.T, file, name string) Command {
	c := sh(fmt.Sprintf(`trap 'echo %s >>%s; exit' TERM; echo up; while :; do sleep 0.01; done`, name, file))
	c.Name = name
	c.Log = filepath.Join(t.TempDir(), name)
	c.Ready = printed(c.Log, "up")
	return c
}

func TestGroupStopsInReverse(t *testing.T) {
	tests := map[string]func(g *Group, cancel context.CancelFunc){
		"by Stop":    func(g *Group, _ context.CancelFunc) { _ = g.Stop() },
		"by context": func(_ *Group, cancel context.CancelFunc) { cancel() },
		"by panic": func(g *Group, _ context.CancelFunc) {
			defer func() { _ = recover() }()
			defer g.Stop()
			panic("at the disco")
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "diary")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g := NewGroup(ctx)
			for _, name := range []string{"first", "second", "third"} {
				if _, err := g.Start(diary(t, file, name)); err != nil {
					t.Fatal(err)
				}
			}
			end(g, cancel)
			if err := g.Stop(); err != nil { // waits for the stop that is under way
				t.Error(err)
			}
			got, err := os.ReadFile(file)
			if err != nil || string(got) != "third\nsecond\nfirst\n" {
				t.Errorf("they stopped in the order %q, %v", got, err)
			}
			if _, err := g.Start(sh("exec sleep 600")); err == nil {
				t.Error("a stopped group starts another process")
			}
		})
	}
}

func TestGroupOfEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := NewGroup(ctx)
	if p, err := g.Start(sh("exec sleep 600")); err == nil {
		<-p.Done() // started before the group noticed, and stopped by it
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}

func TestGroupWait(t *testing.T) {
	g := NewGroup(t.Context())
	defer g.Stop()
	if _, err := g.Start(sh("exec sleep 600")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Wait(ctx); err != nil {
		t.Errorf("all live, but Wait says %v", err)
	}
	stopped, err := g.Start(sh("exec sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	if err := stopped.Stop(); err != nil {
		t.Fatal(err)
	}
	weak := sh("echo farewell; exit 5")
	weak.Name = "weak"
	if _, err := g.Start(weak); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "weak ended by itself (exit status 5)") {
		t.Errorf("Wait says %v", err)
	}
	if err := g.Stop(); err == nil || !strings.Contains(err.Error(), "farewell") {
		t.Errorf("Stop says %v, want the last words", err)
	}
	if err := g.Wait(t.Context()); err != nil && !strings.Contains(err.Error(), "weak") {
		t.Errorf("after the end Wait says %v", err)
	}
}

func TestLogTail(t *testing.T) {
	var l logTail
	for i := range 50_000 {
		if _, err := fmt.Fprintf(&l, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	got := l.String()
	if len(got) != maxTail || !strings.HasSuffix(got, "line 49998\nline 49999\n") {
		t.Errorf("kept %d bytes that end in %q", len(got), got[len(got)-30:])
	}
	if _, err := l.Write(append(make([]byte, 3*maxTail), "end"...)); err != nil {
		t.Fatal(err)
	}
	if got := l.String(); len(got) != maxTail || !strings.HasSuffix(got, "end") {
		t.Errorf("kept %d bytes of one large write", len(got))
	}
}

func TestReady(t *testing.T) {
	status := http.StatusServiceUnavailable
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte("warming up"))
	}))
	defer s.Close()
	if err := HTTPReady(s.URL)(t.Context()); err == nil || !strings.Contains(err.Error(), `503 Service Unavailable: "warming up"`) {
		t.Errorf("HTTPReady says %v", err)
	}
	status = http.StatusOK
	if err := HTTPReady(s.URL)(t.Context()); err != nil {
		t.Errorf("HTTPReady says %v", err)
	}
	if err := TCPReady(s.Listener.Addr().String())(t.Context()); err != nil {
		t.Errorf("TCPReady says %v", err)
	}
	port, err := FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	free := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := TCPReady(free)(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("TCPReady on a free port says %v", err)
	}
}

func TestEnvoy(t *testing.T) {
	t.Setenv("MERIDIAN_ENVOY", "")
	out, err := exec.Command(Envoy(t), "--version").Output()
	if err != nil || !strings.Contains(string(out), "version:") {
		t.Errorf("it says %q, %v", out, err)
	}
}
