package fleet

import (
	"math"
	"testing"
	"time"
)

func TestDistance(t *testing.T) {
	paris, tokyo := Place{Lat: 48.8566, Lon: 2.3522}, Place{Lat: 35.6762, Lon: 139.6503}
	if km := paris.DistanceKm(tokyo); math.Abs(km-9712) > 10 {
		t.Errorf("Paris to Tokyo %.0f km, want about 9712", km)
	}
	if km := paris.DistanceKm(paris); km != 0 {
		t.Errorf("from a place to itself %v km", km)
	}
	if km := (Place{Lat: 0, Lon: -179.5}).DistanceKm(Place{Lat: 0, Lon: 179.5}); math.Abs(km-111.2) > 1 {
		t.Errorf("over the date line %.1f km, want about 111", km)
	}
	if rtt := FibreRTT(1000); rtt != 10*time.Millisecond {
		t.Errorf("1000 km cost %v", rtt)
	}
}

// The rows are those of the Kubernetes Ingress documentation.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		m    Match
		path string
		want bool
	}{
		{Match{PathPrefix, "/"}, "/anything", true},
		{Match{PathExact, "/foo"}, "/foo", true},
		{Match{PathExact, "/foo"}, "/bar", false},
		{Match{PathExact, "/foo"}, "/foo/", false},
		{Match{PathPrefix, "/foo"}, "/foo", true},
		{Match{PathPrefix, "/foo"}, "/foo/", true},
		{Match{PathPrefix, "/aaa/bb"}, "/aaa/bbb", false},
		{Match{PathPrefix, "/aaa/bbb"}, "/aaa/bbb/ccc", true},
		{Match{PathPrefix, "/aaa/bbb"}, "/aaa/bbbxyz", false},
	} {
		if got := c.m.Takes(c.path); got != c.want {
			t.Errorf("%v %s takes %s: %v, want %v", c.m.Type, c.m.Path, c.path, got, c.want)
		}
	}
}

func TestHostIsTheMostSpecific(t *testing.T) {
	r := &Routes{Hosts: []Host{{Name: ""}, {Name: "*.foo.com"}, {Name: "bar.foo.com"}}}
	for name, want := range map[string]string{
		"bar.foo.com": "bar.foo.com", "BAR.foo.com.": "bar.foo.com", "baz.foo.com": "*.foo.com",
		"baz.bar.foo.com": "", "foo.com": "", "": "",
	} {
		if h, ok := r.Host(name); !ok || h.Name != want {
			t.Errorf("%q is served by %q (%v), want %q", name, h.Name, ok, want)
		}
	}
	if _, ok := (&Routes{}).Host("foo.com"); ok {
		t.Error("an empty table serves a host")
	}
}

// The rows are what a real Envoy does; xds/e2e_test asks it for them and for many more.
func TestNormalPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/": "/", "/cart": "/cart", "/cart/": "/cart/", "/cart/../x": "/x", "/cart/./x": "/cart/x", "/cart/..": "/",
		"/../../x": "/x", "//cart///x": "/cart/x", "/a//../b": "/a/b", "/a/.": "/a/", "/.hidden/..x": "/.hidden/..x", "///": "//",
		"/%61": "/a", "/%7e%5F": "/~_", "/a/%2e%2E/zz": "/zz", `/a\b`: "/a/b", `/a\..\b`: "/b", "/%c3%A9": "/%c3%A9", "/{\"}": "/%7B%22%7D",
		"/a/..;x=1/b": "/b", "/a/%2e%2e;/b": "/a/..;/b", "/b/%/../c": "/b/c", "/%2%61": "/%252a",
		"/a%2fb": "307 /a/b", "/a%5Cb": "307 /a/b", "/a/%2e%2e%2f": "307 /", "/%2f%": "307 /%",
		"/a%00": "400", "/b/%00/../c": "400", "/%": "400", "/a%2": "400", "/%g1": "400", "/a#b": "400", "/a b": "400", "/\u00e9": "400", "a": "400", "": "400",
	} {
		got, fate := NormalPath(raw)
		switch fate {
		case PathRedirected:
			got = "307 " + got
		case PathRefused:
			got = "400" + got
		}
		if got != want {
			t.Errorf("%q becomes %q, want %q", raw, got, want)
		}
	}
}
