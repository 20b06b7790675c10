package install

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/fleet"
)

// What nodes say becomes region, zone and ranges; what they do not say is left open.
func TestReadSite(t *testing.T) {
	labelled := node("l", "rack-1", "10.8.0.0/24", "192.168.1.1")
	labelled.Labels[corev1.LabelTopologyRegion] = "lab"
	for _, c := range []struct {
		story  string
		nodes  []corev1.Node
		region fleet.Region // empty: none, or several
		zone   string
		ranges string
	}{
		{"nobody", nil, "", "", "[]"},
		{"one zone of a cloud", []corev1.Node{node("a", "eu-west-1a", "10.0.1.0/24", "172.31.1.1"), node("b", "eu-west-1a", "10.0.9.0/24", "172.31.2.1")}, "eu-west-1", "eu-west-1a", "[10.0.0.0/16 172.31.0.0/16]"},
		{"two zones", []corev1.Node{node("a", "europe-west1-b", "10.0.1.0/24", ""), node("b", "europe-west1-c", "10.7.0.0/24", "")}, "europe-west1", "", "[10.0.0.0/13]"},
		{"two regions", []corev1.Node{node("a", "eu-west-1a", "10.0.1.0/24", ""), node("b", "eu-west-2a", "10.0.2.0/24", "")}, "", "", "[10.0.0.0/16]"},
		{"a label is believed before a zone's name", []corev1.Node{labelled}, "lab", "rack-1", "[10.8.0.0/16 192.168.0.0/16]"},
		{"one node is silent", []corev1.Node{labelled, node("x", "", "", "")}, "lab", "", "[]"},
		{"far apart", []corev1.Node{node("a", "", "10.1.1.0/24", ""), node("b", "", "192.168.1.0/24", "")}, "", "", "[10.1.0.0/16 192.168.0.0/16]"},
		{"version 6", []corev1.Node{node("a", "", "2001:db8:1:2::/64", "2001:db8:ff::1")}, "", "", "[2001:db8:1::/56 2001:db8:ff::/56]"},
		{"wide already", []corev1.Node{node("a", "", "10.0.0.0/12", "10.3.0.1")}, "", "", "[10.0.0.0/12]"},
		{"nonsense", []corev1.Node{node("a", "", "ten", "here")}, "", "", "[]"},
	} {
		s := ReadSite(c.nodes)
		region, err := s.Region()
		if region != c.region || (err == nil) != (c.region != "") || s.Zone() != c.zone || fmt.Sprint(s.Networks) != c.ranges {
			t.Errorf("%s: region %q (%v), zone %q, ranges %v; want %q, %q, %s", c.story, region, err, s.Zone(), s.Networks, c.region, c.zone, c.ranges)
		}
	}
}

func TestParsePlace(t *testing.T) {
	if p, err := ParsePlace("50.4, -3.8"); err != nil || p != (fleet.Place{Lat: 50.4, Lon: -3.8}) {
		t.Errorf("%v %v", p, err)
	}
	for _, text := range []string{"", "50", "50,", "a,b", "91,0", "0,181", "0,0", "NaN,1", "1,2,3"} {
		if p, err := ParsePlace(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestParseGateway(t *testing.T) {
	for text, want := range map[string]string{"192.0.2.7": "192.0.2.7 0", "192.0.2.7:8080": "192.0.2.7 8080", "2001:db8::7": "2001:db8::7 0", "[2001:db8::7]:81": "2001:db8::7 81"} {
		g, err := ParseGateway(text)
		port := int32(0)
		if g.Port != nil {
			port = *g.Port
		}
		if got := fmt.Sprint(g.Address, " ", port); err != nil || got != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "gw.example.com", "192.0.2.7:0", "192.0.2.7:x", "192.0.2.7:80:81"} {
		if g, err := ParseGateway(text); err == nil {
			t.Errorf("%q is %v", text, g)
		}
	}
}

// A CRD is of our version when it says all that ours says, whatever the server added.
func TestWithin(t *testing.T) {
	ours := map[string]any{"a": int64(1), "list": []any{map[string]any{"b": "x"}}, "none": map[string]any{}}
	for _, c := range []struct {
		have any
		want bool
	}{
		{map[string]any{"a": int64(1), "list": []any{map[string]any{"b": "x", "default": true}}, "more": "y"}, true},
		{map[string]any{"a": int64(2), "list": []any{map[string]any{"b": "x"}}}, false},
		{map[string]any{"a": int64(1), "list": []any{map[string]any{"b": "x"}, "another"}}, false},
		{map[string]any{"a": int64(1), "list": []any{"x"}}, false},
		{map[string]any{"a": int64(1)}, false},
		{nil, false},
	} {
		if got := within(ours, c.have); got != c.want {
			t.Errorf("%v: %v", c.have, got)
		}
	}
}
