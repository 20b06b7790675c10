package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// logBook is a log that tests can read.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), part)
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func newServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{"127.0.0.1:0"}
	}
	if cfg.Locate == nil {
		cfg.Locate = locate
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a server for the time of the test, and holds that it ends well.
func start(t *testing.T, s *Server) []netip.AddrPort {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		stop()
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not end")
		}
	})
	return s.Addrs()
}

func ask(t *testing.T, network, server, name string, qtype uint16, subnet string) *miekg.Msg {
	t.Helper()
	m := new(miekg.Msg)
	m.SetQuestion(name, qtype)
	if subnet != "" {
		p := netip.MustParsePrefix(subnet)
		m.SetEdns0(ednsSize, false)
		m.IsEdns0().Option = []miekg.EDNS0{&miekg.EDNS0_SUBNET{Code: miekg.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}}
	}
	c := miekg.Client{Net: network, Timeout: 5 * time.Second}
	in, _, err := c.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s %s %s: %v", network, server, name, err)
	}
	return in
}

func hasIPv6(t *testing.T) bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Log("no IPv6 here")
		return false
	}
	_ = c.Close()
	return true
}

func TestLoopback(t *testing.T) {
	listen := []string{"127.0.0.1:0"}
	if hasIPv6(t) {
		listen = append(listen, "[::1]:0")
	}
	s := newServer(t, Config{Listen: listen, NSID: "eu-1"})
	if s.Addrs() != nil {
		t.Error("addresses before Run")
	}
	s.Update(steer.New(testSnapshot()))
	for _, addr := range start(t, s) {
		for _, network := range []string{"udp", "tcp"} {
			m := ask(t, network, addr.String(), "www.example.test.", miekg.TypeA, "63.1.2.0/24")
			if len(m.Answer) != 1 || m.Answer[0].(*miekg.A).A.String() != "198.51.100.11" || !m.Authoritative {
				t.Errorf("%s %s: %s", network, addr, m)
			}
			if got := rawSubnet(m); !bytes.Equal(got, ecs(1, 24, 8, 63, 1, 2)) {
				t.Errorf("%s %s: ECS %x", network, addr, got)
			}
		}
	}
}

// An answer must leave from the address that the query came to, also where the
// server listens on all of them.
func TestWildcardAnswersFromTheAskedAddress(t *testing.T) {
	s := newServer(t, Config{Listen: []string{":0"}})
	s.Update(steer.New(testSnapshot()))
	port := start(t, s)[0].Port()
	for _, a := range []string{"127.0.0.1", "127.0.0.2"} {
		// The client's socket is connected, so another source would not reach it.
		m := ask(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(a), port).String(), "fixed.example.test.", miekg.TypeA, "")
		if len(m.Answer) != 1 {
			t.Errorf("%s: %s", a, m)
		}
	}
}

func TestPipelinedTCP(t *testing.T) {
	s := newServer(t, Config{})
	s.Update(steer.New(testSnapshot()))
	c, err := net.Dial("tcp", start(t, s)[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var all []byte
	for i := range 20 {
		q := packet{id: uint16(i), name: "www.example.test.", qtype: miekg.TypeA}.bytes()
		all = append(append(all, u16(uint16(len(q)))...), q...)
	}
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if m := readTCP(t, c); int(m.Id) != i || m.Rcode != miekg.RcodeSuccess {
			t.Fatalf("answer %d: id %d, rcode %d", i, m.Id, m.Rcode)
		}
	}
}

func readTCP(t *testing.T, c io.Reader) *miekg.Msg {
	t.Helper()
	var n uint16
	if err := binary.Read(c, binary.BigEndian, &n); err != nil {
		t.Fatalf("reading an answer's length: %v", err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	return unpack(t, b)
}

func TestMalformedOverUDPIsAnswered(t *testing.T) {
	s := newServer(t, Config{})
	s.Update(steer.New(testSnapshot()))
	c, err := net.Dial("udp", start(t, s)[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	bad := packet{id: 3, name: "www.example.test.", qtype: 1, records: [][]byte{opt(0, false, ecs(1, 20, 0, 81, 9, 9))}}
	for _, p := range [][]byte{bad.bytes(), packet{id: 3, noName: true}.bytes(), append(bad.bytes(), make([]byte, 5000)...)} {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		var buf [2000]byte
		n, err := c.Read(buf[:])
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if m := unpack(t, buf[:n]); m.Rcode != miekg.RcodeFormatError || m.Id != 3 {
			t.Errorf("want FORMERR: %s", m)
		}
	}
}

func TestPortInUse(t *testing.T) {
	first := newServer(t, Config{})
	addr := start(t, first)[0]
	second := newServer(t, Config{Listen: []string{"127.0.0.1:0", addr.String()}})
	err := second.Run(context.Background())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) || !strings.Contains(err.Error(), "another program has this port") {
		t.Errorf("got %v, want an error that names the address and the remedy", err)
	}
	if second.Addrs() != nil {
		t.Error("a server that failed to bind says it is ready")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for about, cfg := range map[string]Config{
		"no address":     {},
		"no port":        {Listen: []string{"127.0.0.1"}},
		"a name":         {Listen: []string{"localhost:53"}},
		"a big port":     {Listen: []string{"127.0.0.1:65536"}},
		"a service name": {Listen: []string{"127.0.0.1:domain"}},
		"a long NSID":    {Listen: []string{":0"}, NSID: strings.Repeat("x", 65)},
		"negative limit": {Listen: []string{":0"}, MaxConnections: -1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", about)
		}
	}
}

func TestNoZonesIsSaidOnce(t *testing.T) {
	var book logBook
	s := newServer(t, Config{Log: book.logger()})
	snap := testSnapshot()
	zones := snap.Zones
	snap.Zones = nil
	p := packet{name: "www.example.test.", qtype: 1}.bytes()
	rcode := func() int { return int(s.handle(p, inEurope, overUDP)[3] & 0xF) }
	if got := rcode(); got != miekg.RcodeServerFailure {
		t.Errorf("before the first plan: rcode %d, want SERVFAIL", got)
	}
	s.Update(steer.New(snap))
	s.Update(steer.New(snap))
	if got := rcode(); got != miekg.RcodeRefused || book.count("create a Zone") != 1 {
		t.Errorf("rcode %d, said %d times; want REFUSED, said once", got, book.count("create a Zone"))
	}
	with := *snap
	with.Zones = zones
	s.Update(steer.New(&with))
	if got := rcode(); got != miekg.RcodeSuccess || book.count("DNS zones are served") != 1 {
		t.Errorf("with a zone: rcode %d", got)
	}
	s.Update(steer.New(snap))
	if book.count("create a Zone") != 2 {
		t.Error("losing all zones was not said")
	}
}

func TestProblemsAreSaidOnce(t *testing.T) {
	var book logBook
	s := newServer(t, Config{Log: book.logger()})
	for i := range 3 {
		snap := testSnapshot() // new pointers every time, the same fault
		z := testZone()
		z.Records = append(z.Records, fleet.Record{Name: "www.example.test.", Type: "A", Data: "203.0.113.66"})
		snap.Zones = []fleet.Zone{z}
		s.Update(steer.New(snap))
		if n := book.count("is steered, so the fixed A record"); n != 1 {
			t.Fatalf("after update %d it was said %d times", i+1, n)
		}
		if p := s.Problems(); len(p) != 1 || p[0].Reason != ReasonRecordBesideHost {
			t.Fatalf("after update %d the problems are %v", i+1, p)
		}
	}
	s.Update(steer.New(testSnapshot()))
	if p := s.Problems(); len(p) != 0 {
		t.Errorf("mended, the problems are %v", p)
	}
}

// Plans are swapped while queries run; each answer is of one plan. Run with -race.
func TestUpdateUnderLoad(t *testing.T) {
	s := newServer(t, Config{})
	a, b := testSnapshot(), testSnapshot()
	moved := *b.World.Edges[1]
	moved.Gateways = append([]fleet.GatewayView(nil), moved.Gateways...)
	for i := range moved.Gateways {
		moved.Gateways[i].Addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	b.World.Edges[1] = &moved
	s.Update(steer.New(a))
	p := packet{name: "www.example.test.", qtype: 1}.bytes()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var m miekg.Msg
				if err := m.Unpack(s.handle(p, inEurope, overUDP)); err != nil {
					t.Errorf("broken answer: %v", err)
					return
				}
				old := 0
				for _, rr := range m.Answer {
					if rr.(*miekg.A).A[0] == 198 {
						old++
					}
				}
				if want := []int{3, 0, 2}[old]; len(m.Answer) != want {
					t.Errorf("a mixed answer: %v", m.Answer)
					return
				}
			}
		})
	}
	for i := range 200 {
		s.Update(steer.New([]*fleet.Snapshot{a, b}[i%2]))
	}
	close(stop)
	all.Wait()
}

func TestAFaultCostsOneQuery(t *testing.T) {
	var book logBook
	reg := prometheus.NewRegistry()
	s := newServer(t, Config{Log: book.logger(), Registerer: reg, Locate: func(a netip.Addr) fleet.Location {
		if a == inAsia {
			panic("no map of Asia")
		}
		return locate(a)
	}})
	s.Update(steer.New(testSnapshot()))
	p := packet{id: 5, name: "www.example.test.", qtype: 1}.bytes()
	for range 2 {
		m := unpack(t, s.handle(p, inAsia, overUDP))
		if m.Rcode != miekg.RcodeServerFailure || m.Id != 5 {
			t.Errorf("want SERVFAIL: %s", m)
		}
	}
	if m := unpack(t, s.handle(p, inEurope, overUDP)); m.Rcode != miekg.RcodeSuccess {
		t.Errorf("another query suffered: %s", m)
	}
	if n := book.count("no map of Asia"); n != 1 {
		t.Errorf("the fault was logged %d times, want once", n)
	}
	if got := metric(t, reg, "meridian_dns_panics_total"); got != 2 {
		t.Errorf("%v faults counted, want 2", got)
	}
}
