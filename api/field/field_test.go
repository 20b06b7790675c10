package field

import (
	"strings"
	"testing"

	"github.com/meridian-lb/meridian/fleet"
)

func TestAddr(t *testing.T) {
	for in, want := range map[string]string{
		"203.0.113.7":              "203.0.113.7",
		"::ffff:203.0.113.7":       "203.0.113.7",
		"2001:db8::7":              "2001:db8::7",
		"10.0.0.1":                 "10.0.0.1",
		"127.0.0.3":                "127.0.0.3",
		"::1":                      "::1",
		"0.0.0.0":                  "!unspecified",
		"0.1.2.3":                  "!unspecified",
		"::":                       "!unspecified",
		"224.0.0.1":                "!multicast",
		"ff02::1":                  "!multicast",
		"169.254.169.254":          "!link-local",
		"::ffff:169.254.169.254":   "!link-local",
		"64:ff9b::169.254.169.254": "!link-local",
		"2002:a9fe:a9fe::1":        "!link-local",
		"fe80::1":                  "!link-local",
		"fe80::1%eth0":             "!interface",
		"255.255.255.255":          "!reserved",
		"fd00:ec2::254":            "!metadata",
		"fd20:ce::254":             "!metadata", "192.0.0.192": "!metadata", "::a9fe:a9fe": "!link-local",
		"2002:a00:1::1": "2002:a00:1::1",
		"168.63.129.16": "!metadata",
		"example.com":   "!not an IP address",
		"":              "!not an IP address",
		"1.2.3.4:80":    "!not an IP address",
	} {
		got, err := Addr(in)
		if kind, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), kind) {
				t.Errorf("Addr(%q) = %v, %v; want a refusal that says %q", in, got, err, kind)
			}
		} else if err != nil || got.String() != want {
			t.Errorf("Addr(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		what string
		err  error
		ok   bool
	}{
		{"label a", Label("a"), true},
		{"label eu-west-1", Label("eu-west-1"), true},
		{"label empty", Label(""), false},
		{"label -a", Label("-a"), false},
		{"label a-", Label("a-"), false},
		{"label A", Label("A"), false},
		{"label a.b", Label("a.b"), false},
		{"label long", Label(long), false},
		{"subdomain a.b", Subdomain("a.b"), true},
		{"subdomain a..b", Subdomain("a..b"), false},
		{"subdomain too long", Subdomain(strings.Repeat("a.", 127) + "a"), false},
		{"zone empty", ZoneName(""), true},
		{"zone 1", ZoneName("1"), true},
		{"zone A_b.c", ZoneName("A_b.c"), true},
		{"zone _b", ZoneName("_b"), false},
		{"zone a/b", ZoneName("a/b"), false},
		{"host", Hostname("shop.example.com", false), true},
		{"host wildcard", Hostname("*.example.com", true), true},
		{"host wildcard refused", Hostname("*.example.com", false), false},
		{"host inner star", Hostname("a.*.com", true), false},
		{"host star", Hostname("*", true), false},
		{"host half star", Hostname("*a.com", true), false},
		{"host v4", Hostname("1.2.3.4", true), false},
		{"host v6", Hostname("[::1]", true), false},
		{"host port", Hostname("a.com:80", true), false},
	} {
		if (c.err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %v", c.what, c.err, c.ok)
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	f := Faults{About: fleet.Origin{Kind: "Cluster", Name: "a"}}
	if f.Problems() != nil {
		t.Fatal("no faults must be nil")
	}
	for i := range 50 {
		f.Add(Index("spec.gateways", i), "%s is bad", Quote(strings.Repeat("é\n", 100)))
	}
	got := f.Problems()
	if len(got) != MaxFaults+1 || f.Count() != 50 {
		t.Fatalf("%d problems, count %d; want %d and 50", len(got), f.Count(), MaxFaults+1)
	}
	if want := "and 30 faults more"; !strings.Contains(got[MaxFaults].Message, want) {
		t.Errorf("last is %q, want %q", got[MaxFaults].Message, want)
	}
	if m := got[3].Message; len(m) > 160 || strings.Contains(m, "\n") || Path(m) != "spec.gateways[3]" {
		t.Errorf("message %q has path %q", m, Path(m))
	}
}

func TestPath(t *testing.T) {
	for message, want := range map[string]string{
		"spec.a[1].b: is bad":        "spec.a[1].b",
		"no path at all":             "",
		"some words: and a sentence": "",
		": nothing before":           "",
		`spec.weights["eu"]: x`:      `spec.weights["eu"]`,
	} {
		if got := Path(message); got != want {
			t.Errorf("Path(%q) = %q, want %q", message, got, want)
		}
	}
}
