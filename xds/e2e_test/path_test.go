//go:build linux

package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// What explain and the parsers believe of paths is what a real Envoy does with
// them, byte for byte: the status, where it redirects to, which route it takes,
// and what the pod is asked for.
func TestPathsAreWhatTheModelSays(t *testing.T) {
	http80 := fleet.Port{Name: "http", Number: 80}
	host := fleet.Host{Name: "shop.example", Routes: []fleet.Route{
		{Host: "shop.example", Match: fleet.Match{Path: "/a"}, To: []fleet.Target{to("shop", 80, 1)}},
		{Host: "shop.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{to("cart", 80, 1)}},
	}}
	h := newHouse(t, []*fleet.Service{
		service("shop", http80, []*pod{newPod(t, "shop", nil)}, nil), service("cart", http80, []*pod{newPod(t, "cart", nil)}, nil),
	}, &fleet.Routes{Hosts: []fleet.Host{host}})
	said := func(t rapid.TB, path string) string { return h.raw(t, host.Name, path) }

	t.Run("those that were once wrong", func(t *testing.T) {
		for path, want := range map[string]string{
			"/%61": "200 shop /a", "/a/%2e%2e/zz": "200 cart /zz", `/a\b`: "200 shop /a/b", "/a%2fb": "307 /a/b", "/a%5cb": "307 /a/b",
			"/a%00": "400", "/%": "400", "/%41": "200 cart /A", "/a/..;x/b": "200 cart /b", "/a/%2e%2e;x/b": "200 shop /a/..;x/b",
			"/a%252fb": "200 cart /a%252fb", "/a{b}|^": "200 cart /a%7Bb%7D%7C%5E", "/a/b%2f..?q=%2f": "307 /a/?q=%2f",
		} {
			if model, envoy := modelled(host, path), said(t, path); model != want || envoy != want {
				t.Errorf("%s: the model says %q, Envoy %q, want %q", path, model, envoy, want)
			}
		}
	})
	t.Run("every byte, plain and encoded", func(t *testing.T) {
		for c := range 256 {
			paths := []string{fmt.Sprintf("/a%%%02xb", c), fmt.Sprintf("/%%%02X", c)}
			if !strings.ContainsRune(" \t\r\n", rune(c)) { // which would end the target
				paths = append(paths, "/a/"+string([]byte{byte(c)}), "/a"+string([]byte{byte(c)})+"b")
			}
			for _, path := range paths {
				if model, envoy := modelled(host, path), said(t, path); model != envoy {
					t.Errorf("%q: the model says %q, Envoy %q", path, model, envoy)
				}
			}
		}
	})
	t.Run("any", rapid.MakeCheck(func(t *rapid.T) {
		part := rapid.SampledFrom([]string{
			"/", "/", "//", `\`, "a", "b", ".", "..", "/..", "/.", "%2e", "%2E", "%2f", "%5C", ";", ";x", "%3b", "%", "%00", "%61", "%2", "%25", "%36", "%31", "1", "~", "%7E", "{", `"`, "%c3", "=", "?", "#",
		})
		path := "/" + strings.Join(rapid.SliceOfN(part, 0, 10).Draw(t, "path"), "")
		if model, envoy := modelled(host, path), said(t, path); model != envoy {
			t.Fatalf("%q: the model says %q, Envoy %q", path, model, envoy)
		}
	}))
}

// modelled is what the model says that becomes of a request.
func modelled(h fleet.Host, target string) string {
	raw, query, asked := strings.Cut(target, "?")
	if asked {
		query = "?" + query
	}
	path, fate := fleet.NormalPath(raw)
	if strings.Contains(query, "#") {
		fate = fleet.PathRefused
	}
	switch fate {
	case fleet.PathRefused:
		return "400"
	case fleet.PathRedirected:
		return "307 " + path + query
	}
	route, ok := h.Route(path)
	if !ok {
		return "404"
	}
	return "200 " + route.To[0].Service.Name + " " + path + query
}

// raw sends a request target as it is, which Go's client would mend, and tells
// what became of it as modelled does.
func (h *house) raw(t rapid.TB, host, target string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", h.near.front().String(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	text := fmt.Sprint(resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusOK:
		var got heard
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		text += " " + got.Pod + " " + got.Path
	case http.StatusTemporaryRedirect:
		text += " " + resp.Header.Get("Location")
	}
	return text
}
