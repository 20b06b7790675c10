package trust

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

var anEnvoy = Identity{Domain: "mesh.example", Role: Gateway, Region: "europe-west1", Name: "gateway-0"}

func TestParse(t *testing.T) {
	got, err := Parse("spiffe://mesh.example/gateway/europe-west1/gateway-0")
	if err != nil || got != anEnvoy {
		t.Errorf("%+v %v", got, err)
	}
	for _, id := range []string{
		"", "spiffe://", "mesh.example/gateway/eu/a", "https://mesh.example/gateway/eu/a", "SPIFFE://mesh.example/gateway/eu/a",
		"spiffe:///gateway/eu/a", "spiffe://Mesh.example/gateway/eu/a", "spiffe://mesh.example:1/gateway/eu/a", "spiffe://u@mesh.example/gateway/eu/a",
		"spiffe://.example/gateway/eu/a", "spiffe://mesh..example/gateway/eu/a", "spiffe://" + strings.Repeat("x", 254) + "/gateway/eu/a",
		"spiffe://mesh.example/root/eu/a", "spiffe://mesh.example/Gateway/eu/a", "spiffe://mesh.example//eu/a", "spiffe://mesh.example/gateway//a",
		"spiffe://mesh.example/gateway/eu/", "spiffe://mesh.example/gateway/eu", "spiffe://mesh.example/gateway/eu/a/b", "spiffe://mesh.example/gateway/eu/a/",
		"spiffe://mesh.example/gateway/../a", "spiffe://mesh.example/gateway/eu/.", "spiffe://mesh.example/gateway/eu/a?b", "spiffe://mesh.example/gateway/eu/a#b",
		"spiffe://mesh.example/gateway/eu/a%2Fb", "spiffe://mesh.example/gateway/eu/a b", "spiffe://mesh.example/gateway/eu/ü",
		"spiffe://mesh.example/gateway/" + strings.Repeat("r", 129) + "/a", "spiffe://mesh.example/gateway/eu/" + strings.Repeat("n", 254),
		"spiffe://mesh.example/gateway/eu/" + strings.Repeat("n", 1<<20),
	} {
		if got, err := Parse(id); err == nil {
			t.Errorf("%.80q is taken for %+v", id, got)
		} else if len(err.Error()) > 600 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q is refused in %d bytes", id, len(err.Error()))
		}
	}
}

func TestPrefixTellsRegionsApart(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   bool
	}{
		{Prefix("mesh.example", Gateway, ""), true},
		{Prefix("mesh.example", Gateway, "europe-west1"), true},
		{Prefix("mesh.example", Gateway, "europe-west"), false},
		{Prefix("mesh.exampl", Gateway, ""), false},
		{Prefix("mesh.example", Control, ""), false},
	} {
		if got := strings.HasPrefix(anEnvoy.String(), c.prefix); got != c.want {
			t.Errorf("%s begins %s: %v", c.prefix, anEnvoy, got)
		}
	}
}

func TestIdentityOf(t *testing.T) {
	for name, c := range map[string]*x509.Certificate{
		"no URI":           {},
		"two URIs":         {URIs: []*url.URL{anEnvoy.url(), anEnvoy.url()}},
		"an authority":     {URIs: []*url.URL{anEnvoy.url()}, IsCA: true},
		"another scheme":   {URIs: []*url.URL{{Scheme: "https", Host: "mesh.example", Path: "/gateway/eu/a"}}},
		"an escaped slash": {URIs: []*url.URL{{Scheme: "spiffe", Host: "mesh.example", Path: "/gateway/eu/a/b", RawPath: "/gateway/eu/a%2Fb"}}},
	} {
		if got, err := IdentityOf(c); err == nil {
			t.Errorf("%s: taken for %v", name, got)
		}
	}
	if got, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{anEnvoy.url()}}); err != nil || got != anEnvoy {
		t.Errorf("%v %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(anEnvoy.String())
	f.Add("spiffe://a/viewer/global/kim")
	f.Add("spiffe://a/b/c/d")
	f.Add("spiffe:////")
	f.Fuzz(func(t *testing.T, id string) {
		i, err := Parse(id)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if i.String() != id || i.Check() != nil {
			t.Errorf("%q reads as %+v", id, i)
		}
		// What is taken here is what a URI parser takes it for too.
		u, err := url.Parse(id)
		if err != nil || u.String() != id || u.Host != i.Domain || u.Path != i.url().Path || i.url().String() != id {
			t.Errorf("%q is another URI: %v %v", id, u, err)
		}
	})
}
