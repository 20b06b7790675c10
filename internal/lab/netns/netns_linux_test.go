package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// roleEnv makes this binary play a program that enters a network.
const roleEnv = "NETNS_TEST_ROLE"

var pods = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	Main(m, pods...)
}

func TestLocal(t *testing.T) {
	for _, addr := range []string{"10.244.7.9", "fd00:244::9", "127.0.0.1", "127.3.2.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = io.WriteString(conn, "hello")
				conn.Close()
			}
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(conn); err != nil || string(said) != "hello" {
			t.Errorf("%s says %q, %v", addr, said, err)
		}
		conn.Close()
		l.Close()
	}
}

func TestNothingElse(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Name != "lo" && i.Flags&net.FlagUp != 0 {
			t.Errorf("%s is up in a network that should be empty", i.Name)
		}
	}
	if _, err := net.Dial("tcp", "10.245.0.1:80"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("an address that nobody made local says %v", err)
	}
}

func TestRootInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Errorf("inside the user is %d", os.Getuid())
	}
	l, err := net.Listen("tcp", "10.244.0.1:53")
	if err != nil {
		t.Fatalf("a low port: %v", err)
	}
	l.Close()
}

// play is what the started program does, to be seen from its end.
func play(role string) int {
	code, inside, err := Enter()
	switch {
	case err != nil:
		fmt.Println(err)
		return 99
	case !inside:
		return code
	case role == "fail":
		return 7
	case role == "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case role == "wait":
		fmt.Println(os.Getpid())
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	default:
		fmt.Println(os.Args[1:], os.Getenv(insideEnv))
		return 0
	}
}

func program(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

// TestEnter enters from where the tests are, so it shows as well that a network can lie in another.
func TestEnter(t *testing.T) {
	for role, code := range map[string]int{"fail": 7, "killed": 128 + 9, "print": 0} {
		out, err := program(role, "a", "b c").Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		got := 0
		if exit != nil {
			got = exit.ExitCode()
		}
		if got != code {
			t.Errorf("%s: exit status %d, want %d (%q)", role, got, code, out)
		}
		if role == "print" && string(out) != "[a b c] \n" {
			t.Errorf("%s: it printed %q", role, out)
		}
	}
}

// TestStranger enters as somebody who is not root, which is what users are.
func TestStranger(t *testing.T) {
	cmd := program("print", "x")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		Credential:  &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "[x] \n" {
		t.Errorf("it printed %q, %v", out, err)
	}
}

// TestDiesWithOutside kills the process outside, which has no time to clean up:
// the pipe ends when nobody inside holds it any more.
func TestDiesWithOutside(t *testing.T) {
	cmd := program("wait")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Errorf("waiting for the end of the one inside: %v", err)
	}
	_ = cmd.Wait() // it was killed, and says so
}

func TestExplain(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		sysctl map[string]string
		want   string
	}{
		{"Debian's switch", syscall.EPERM, map[string]string{"kernel.unprivileged_userns_clone": "0"}, `"sudo sysctl -w kernel.unprivileged_userns_clone=1"`},
		{"Ubuntu's switch", fmt.Errorf("switching the loopback device on: %w", syscall.EPERM), map[string]string{"kernel.unprivileged_userns_clone": "1", "kernel.apparmor_restrict_unprivileged_userns": "1"}, `"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"`},
		{"no namespaces left", syscall.ENOSPC, map[string]string{"user.max_user_namespaces": "0"}, "user.max_user_namespaces=10000"},
		{"a container", syscall.EPERM, nil, "--cap-add=SYS_ADMIN"},
		{"another fault", syscall.ENOENT, map[string]string{"user.max_user_namespaces": "0"}, "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := explain(tt.err, func(name string) string { return tt.sysctl[name] })
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it says %q, want %q", err, tt.want)
			}
		})
	}
	if got := readSysctl("kernel.ostype"); got != "Linux" {
		t.Errorf("kernel.ostype reads as %q", got)
	}
}
