// Package demo runs a whole installation of three regions on this machine and tells its story.
//
// Everything in it is real: one Envoy, one meridiand and two web services per
// region. Only the ocean between the regions is made, by delaying bytes; and a
// small node agent stands for the kubelet, writing the readiness of the web
// services into the cluster's files.
package demo

import (
	"fmt"
	"net/netip"

	"github.com/meridian-lb/meridian/fleet"
)

// Host is the name that the demo serves, in Zone.
const (
	Host = "whereami.demo.meridian.dev"
	Zone = "demo.meridian.dev"
)

// region is one of the three, on loopback addresses of its own: 127.<net>.0.0/16
// is where its clients, gateway, daemon and pods live.
type region struct {
	name   fleet.Region
	title  string
	place  fleet.Place
	net    byte
	admin  uint16
	dns    uint16
	client netip.Prefix // a subnet of real clients near it, for ECS
}

// regions are sorted by name. The client subnets are those of well-known public
// institutions: Princeton (United States), RIPE NCC (Netherlands), WIDE (Japan).
func regions() []region {
	return []region{
		{name: "asia-east1", title: "Asia", place: fleet.Place{Lat: 24.05, Lon: 120.52}, net: 30, admin: 9445, dns: 5355, client: netip.MustParsePrefix("203.178.141.0/24")},
		{name: "europe-west1", title: "Europe", place: fleet.Place{Lat: 50.45, Lon: 3.82}, net: 20, admin: 9444, dns: 5354, client: netip.MustParsePrefix("193.0.6.0/24")},
		{name: "us-east1", title: "America", place: fleet.Place{Lat: 33.20, Lon: -80.01}, net: 10, admin: 9443, dns: 5353, client: netip.MustParsePrefix("128.112.128.0/24")},
	}
}

const (
	frontPort  = 8080
	relayPort  = 15443
	podPort    = 9000
	xdsPort    = 18000
	peerPort   = 17443
	debugPort  = 19090
	envoyAdmin = 9901
)

func (r region) addr(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{127, r.net, c, d}) }

// public is what DNS answers with: the shore of the made ocean.
func (r region) public() netip.Addr { return r.addr(0, 1) }

// envoy is where the region's Envoy binds, behind it.
func (r region) envoy() netip.Addr { return r.addr(0, 2) }

// daemon is where the region's meridiand serves Envoy and its peers.
func (r region) daemon() netip.Addr { return r.addr(0, 3) }

// user is where a client of the region calls from.
func (r region) user() netip.Addr { return r.addr(9, 9) }

func (r region) prefix() netip.Prefix { return netip.PrefixFrom(r.addr(0, 0), 16) }

func (r region) adminAddr() string { return fmt.Sprintf("127.0.0.1:%d", r.admin) }
func (r region) dnsAddr() string   { return fmt.Sprintf("127.0.0.1:%d", r.dns) }
func (r region) instance() string  { return string(r.name) + "-0" }

// pod is one whereami process.
type pod struct {
	name string
	zone string
	addr netip.AddrPort
}

func (r region) pods() []pod {
	var pods []pod
	for i, zone := range []string{"a", "b"} {
		pods = append(pods, pod{
			name: fmt.Sprintf("whereami-%s-%s", r.name, zone),
			zone: fmt.Sprintf("%s-%s", r.name, zone),
			addr: netip.AddrPortFrom(r.addr(byte(i+1), 1), podPort),
		})
	}
	return pods
}
