package placement

import (
	"strings"
	"testing"
)

// TestFromRegistry knows every form in which people write images.
func TestFromRegistry(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	tests := []struct{ name, registry, want string }{
		{"nginx", "eu.example.com", "eu.example.com/library/nginx"},
		{"nginx:1.27", "eu.example.com", "eu.example.com/library/nginx:1.27"},
		{"docker.io/nginx", "eu.example.com", "eu.example.com/library/nginx"},
		{"index.docker.io/nginx", "eu.example.com", "eu.example.com/library/nginx"},
		{"grafana/grafana:11", "eu.example.com", "eu.example.com/grafana/grafana:11"},
		{"quay.io/a/b/c:1", "eu.example.com", "eu.example.com/a/b/c:1"},
		{"localhost/a:1", "eu.example.com", "eu.example.com/a:1"},
		{"localhost:5000/a", "eu.example.com:443", "eu.example.com:443/a"},
		{"host:5000/a:1", "eu.example.com/mirror/x", "eu.example.com/mirror/x/a:1"},
		{"[2001:db8::1]:5000/a", "localhost", "localhost/a"},
		{"Host/a", "localhost", "localhost/a"},
		{"nginx@" + digest, "eu.example.com", "eu.example.com/library/nginx@" + digest},
		{"quay.io/a:1.2@" + digest, "eu.example.com", "eu.example.com/a:1.2@" + digest},
		{"registry.k8s.io/pause:3.10", "eu.example.com", "eu.example.com/pause:3.10"},
		// These are no images, and nobody guesses what they might be.
		{"Nginx", "eu.example.com", ""},
		{"nginx:", "eu.example.com", ""},
		{"nginx@sha256:12", "eu.example.com", ""},
		{"quay.io/", "eu.example.com", ""},
		{"quay.io//a", "eu.example.com", ""},
		{"a b", "eu.example.com", ""},
		{"http://quay.io/a", "eu.example.com", ""},
		{strings.Repeat("a", 600), "eu.example.com", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := CheckRegistry(tt.registry); err != nil {
				t.Fatal(err)
			}
			got, _ := fromRegistry(tt.name, tt.registry)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheckRegistry(t *testing.T) {
	for _, registry := range []string{"", "mirror", "http://eu.example.com", "eu.example.com/", "eu.example.com/UP", "-a.b", "a.b:123456", "a.b/c:1", strings.Repeat("a.", 150)} {
		if err := CheckRegistry(registry); err == nil {
			t.Errorf("%q was taken for a registry", registry)
		}
	}
}

// FuzzImage reads any text as an image: what is one has, once written out, the same
// parts, and keeps all but the registry when it gets another one.
func FuzzImage(f *testing.F) {
	for _, name := range []string{"nginx", "a/b:c", "localhost:1/a@sha256:" + strings.Repeat("0", 64), "[::1]:5/a", "A/b", "docker.io/library/x", "index.docker.io/x", "a:b:c"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		i, ok := parseImage(name)
		if !ok {
			return
		}
		if again, ok := parseImage(i.String()); !ok || again != i {
			t.Fatalf("%q is %+v and, written as %q, %+v", name, i, i.String(), again)
		}
		moved, ok := fromRegistry(name, "eu.example.com:5000")
		if !ok {
			if len(name) < 400 {
				t.Fatalf("%q cannot move", name)
			}
			return // too long for it
		}
		j, ok := parseImage(moved)
		if !ok || j.registry != "eu.example.com:5000" || j.path != i.path || j.tag != i.tag || j.digest != i.digest {
			t.Fatalf("%q moved to %q", name, moved)
		}
		if again, _ := fromRegistry(moved, "eu.example.com:5000"); again != moved {
			t.Fatalf("%q moved on to %q", moved, again)
		}
	})
}
