package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/internal/lab"
)

// Image says how to run what a container's image stands for. Path, Args and Env of
// the Command are its business; the container's own environment is added to Env
// and wins, and name, log and grace are the node's. A nil Image starts no process:
// its container is running and ready at once, which is good for thousands of them.
type Image func(Container) (lab.Command, error)

// Container is what an Image is asked to run.
type Container struct {
	Pod    *corev1.Pod      // must not be changed
	Spec   corev1.Container // must not be changed
	Args   []string         // of the container, expanded, with Local paths
	Env    []string         // "KEY=value", resolved, with Local paths
	Addr   netip.Addr       // of the pod: a process listens here and nowhere else
	Node   string
	Region string
	Zone   string

	mounts []mount // the longest path first
}

// mount is where a container finds a volume.
type mount struct{ inside, local string }

// Local is where a file of the container really lies. Whatever is mounted nowhere
// stays as it is.
func (c Container) Local(file string) string {
	for _, m := range c.mounts {
		if file == m.inside || strings.HasPrefix(file, m.inside+"/") {
			return m.local + file[len(m.inside):]
		}
	}
	return file
}

// localize replaces the paths of mounts within a word, as in --key=/etc/tls/key.
func (c Container) localize(word string) string {
	var b strings.Builder
	for word != "" {
		at, m := -1, mount{}
		for _, candidate := range c.mounts { // of two at one place the longer wins
			if i := indexPath(word, candidate.inside); i >= 0 && (at < 0 || i < at) {
				at, m = i, candidate
			}
		}
		if at < 0 {
			break
		}
		b.WriteString(word[:at] + m.local)
		word = word[at+len(m.inside):]
	}
	return b.String() + word
}

// indexPath finds a path in a word where it begins and ends like one.
func indexPath(word, p string) int {
	const part = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	for from := 0; ; {
		i := strings.Index(word[from:], p)
		if i < 0 {
			return -1
		}
		i += from
		end := i + len(p)
		if (i == 0 || !strings.ContainsRune(part+"/", rune(word[i-1]))) && (end == len(word) || !strings.ContainsRune(part, rune(word[end]))) {
			return i
		}
		from = i + 1
	}
}

// Port is the container's first port, or otherwise if it names none.
func (c Container) Port(otherwise int) int {
	if len(c.Spec.Ports) == 0 {
		return otherwise
	}
	return int(c.Spec.Ports[0].ContainerPort)
}

// Program is the Image of a binary that takes the container's command line and
// environment. The first word of the container's command, the program's path in
// the image, is left out.
func Program(binary string) Image {
	return func(c Container) (lab.Command, error) {
		return lab.Command{Path: binary, Args: c.Args}, nil
	}
}

// Server is the Image of a binary that takes the container's command line and
// environment as Program's does, and believes to be alone in its network: wherever it
// is told to listen on all addresses or on loopback, it does so on its pod's address.
func Server(binary string) Image {
	return func(c Container) (lab.Command, error) {
		args := make([]string, 0, len(c.Args))
		for _, a := range c.Args {
			args = append(args, alone(a, c.Addr))
		}
		return lab.Command{Path: binary, Args: args}, nil
	}
}

// alone replaces in a word what means "here" in a network of one pod, as in
// --listen=0.0.0.0:80, --url=http://127.0.0.1:80 and --xds=:80.
func alone(word string, addr netip.Addr) string {
	for _, here := range []string{"0.0.0.0", "127.0.0.1"} {
		word = strings.ReplaceAll(word, here, addr.String())
	}
	before, at, found := strings.Cut(word, "=")
	if !found {
		before, at = "", word
	} else {
		before += "="
	}
	if port, ok := strings.CutPrefix(at, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return before + net.JoinHostPort(addr.String(), port)
		}
	}
	return word
}

// Whereami is the Image of cmd/whereami: it listens on the container's first port,
// 8080 if there is none, and knows where it stands.
func Whereami(binary string) Image {
	return func(c Container) (lab.Command, error) {
		listen := net.JoinHostPort(c.Addr.String(), strconv.Itoa(c.Port(8080)))
		return lab.Command{Path: binary, Args: c.Args, Env: []string{
			"LISTEN=" + listen, "POD_NAME=" + c.Pod.Name, "NODE_NAME=" + c.Node, "REGION=" + c.Region, "ZONE=" + c.Zone,
		}}, nil
	}
}

// image finds what a container's image stands for, "registry/whereami:v1" for
// example in the row "whereami".
func (n *Node) image(name string) (Image, error) {
	short, _, _ := strings.Cut(path.Base(name), "@")
	short, _, _ = strings.Cut(short, ":")
	for _, key := range []string{name, short} {
		if image, ok := n.cfg.Images[key]; ok {
			return image, nil
		}
	}
	known := make([]string, 0, len(n.cfg.Images))
	for key := range n.cfg.Images {
		known = append(known, key)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("this node has no image %q; it has %s", name, strings.Join(known, ", "))
}

// mountsOf finds where the volumes of a pod, by name, lie in a container.
func mountsOf(c *corev1.Container, volumes map[string]string) ([]mount, error) {
	var mounts []mount
	for _, vm := range c.VolumeMounts {
		dir, ok := volumes[vm.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("volume %s is mounted and not there", vm.Name)
		case vm.SubPathExpr != "":
			return nil, errors.New("subPathExpr is not supported by this node")
		}
		if vm.SubPath != "" {
			if !filepath.IsLocal(vm.SubPath) {
				return nil, fmt.Errorf("subPath %q leads out of volume %s", vm.SubPath, vm.Name)
			}
			dir = filepath.Join(dir, vm.SubPath)
		}
		mounts = append(mounts, mount{inside: path.Clean(vm.MountPath), local: dir})
	}
	slices.SortFunc(mounts, func(a, b mount) int { return len(b.inside) - len(a.inside) })
	return mounts, nil
}
