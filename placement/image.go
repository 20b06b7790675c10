package placement

import (
	"fmt"
	"regexp"
	"strings"
)

// image is a container image's name in its parts, as container runtimes read it.
type image struct {
	registry string // "docker.io" when none is written
	path     string // "library/nginx"
	tag      string // without ":"; empty: none
	digest   string // without "@"; empty: none
}

// The grammar is that of github.com/distribution/reference, with bounded lengths.
var (
	imageHost   = regexp.MustCompile(`^(localhost|[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]{2,39}\])(:[0-9]{1,5})?$`)
	imagePath   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	imageTag    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	imageDigest = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,128}$`)
)

// Docker's registry, and where it keeps what has no owner.
const (
	dockerRegistry = "docker.io"
	dockerLibrary  = "library/"
)

const longestImage = 512 // bytes; names end at 255, and then come tag and digest

// parseImage reads an image's name; false when no container runtime would.
func parseImage(s string) (image, bool) {
	if len(s) > longestImage {
		return image{}, false
	}
	var i image
	name, digest, pinned := strings.Cut(s, "@")
	if pinned && !imageDigest.MatchString(digest) {
		return image{}, false
	}
	i.digest = digest
	if slash, colon := strings.LastIndexByte(name, '/'), strings.LastIndexByte(name, ':'); colon > slash {
		i.tag = name[colon+1:]
		if name = name[:colon]; !imageTag.MatchString(i.tag) {
			return image{}, false
		}
	}
	host, path, found := strings.Cut(name, "/")
	if found && isRegistry(host) {
		if i.registry, i.path = host, path; !imageHost.MatchString(host) {
			return image{}, false
		}
	} else {
		i.registry, i.path = dockerRegistry, name
	}
	if i.registry == "index.docker.io" {
		i.registry = dockerRegistry
	}
	if i.registry == dockerRegistry && !strings.Contains(i.path, "/") {
		i.path = dockerLibrary + i.path
	}
	return i, len(i.path) <= 255 && imagePath.MatchString(i.path)
}

// isRegistry tells the first part of an image's name from an owner at Docker's
// registry, just as container runtimes do.
func isRegistry(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || strings.ToLower(s) != s
}

func (i image) String() string {
	s := i.registry + "/" + i.path
	if i.tag != "" {
		s += ":" + i.tag
	}
	if i.digest != "" {
		s += "@" + i.digest
	}
	return s
}

// CheckRegistry says what is wrong with a registry that shall take the place of
// images' own: a host, perhaps with a port, perhaps with a path below which it
// mirrors others.
func CheckRegistry(registry string) error {
	host, path, found := strings.Cut(registry, "/")
	switch {
	case len(registry) > 200:
		return fmt.Errorf("the registry is %d bytes long; 200 are enough for a host and a path", len(registry))
	case !isRegistry(host):
		return fmt.Errorf("the registry %q would be taken for an owner at docker.io; write a host with a dot or a port, like \"registry.example.com\" or \"mirror:5000\"", registry)
	case !imageHost.MatchString(host) || found && !imagePath.MatchString(path):
		return fmt.Errorf("the registry %q is none; write a host, perhaps with a port and a path, like \"registry.example.com:5000/mirror\"", registry)
	}
	return nil
}

// fromRegistry is the same image at another registry: "nginx:1" at "eu.example.com"
// is "eu.example.com/library/nginx:1", since that is what it is called where all of
// docker.io is mirrored.
func fromRegistry(name, registry string) (string, bool) {
	i, ok := parseImage(name)
	if !ok {
		return "", false
	}
	i.registry = registry
	return i.String(), len(i.String()) <= longestImage
}
