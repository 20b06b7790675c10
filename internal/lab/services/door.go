package services

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	connectWithin = 5 * time.Second
	// silent is when nobody waits for an answer by UDP any more.
	silent = 5 * time.Second
)

// door is one address of a Service. Behind it are the pods, which take turns.
type door struct {
	log    *slog.Logger
	pods   atomic.Pointer[[]netip.AddrPort]
	turn   atomic.Uint64
	cancel context.CancelFunc
	inside sync.WaitGroup
}

// open listens at a spot, until shut or the end of ctx.
func open(ctx context.Context, at spot, log *slog.Logger) (*door, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &door{log: log, cancel: cancel}
	d.lead(nil)
	var lc net.ListenConfig
	if at.protocol == corev1.ProtocolUDP {
		conn, err := lc.ListenPacket(ctx, "udp", at.addr.String())
		if err != nil {
			cancel()
			return nil, err
		}
		d.inside.Go(func() { d.packets(ctx, conn) })
		return d, nil
	}
	l, err := lc.Listen(ctx, "tcp", at.addr.String())
	if err != nil {
		cancel()
		return nil, err
	}
	d.inside.Go(func() { d.streams(ctx, l) })
	return d, nil
}

// lead has the door lead to other pods from now on. Connections that are open stay.
func (d *door) lead(pods []netip.AddrPort) { d.pods.Store(&pods) }

// shut ends everything that goes through the door.
func (d *door) shut() {
	d.cancel()
	d.inside.Wait()
}

// next is the pod whose turn it is.
func (d *door) next() (netip.AddrPort, bool) {
	pods := *d.pods.Load()
	if len(pods) == 0 {
		return netip.AddrPort{}, false
	}
	return pods[d.turn.Add(1)%uint64(len(pods))], true
}

func (d *door) streams(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		client, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.log.Warn("accepting a connection to a Service", "at", l.Addr(), "error", err)
			continue
		}
		d.inside.Go(func() { d.stream(ctx, client.(*net.TCPConn)) })
	}
}

// stream carries one connection. A Service without pods refuses, as the kernel of a node does.
func (d *door) stream(ctx context.Context, client *net.TCPConn) {
	defer func() { _ = client.Close() }() // twice, as it may be
	pod, ok := d.next()
	if !ok {
		_ = client.SetLinger(0) // felt as a reset
		return
	}
	from := client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	dialer := net.Dialer{Timeout: connectWithin, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := dialer.DialContext(ctx, "tcp", pod.String())
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	server := conn.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{client, server}, {server, client}} {
		both.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil { // one that broke off ends the other
				_ = way[0].Close()
				_ = way[1].Close()
			}
			_ = way[1].CloseWrite()
		})
	}
	both.Wait()
}

// packets carries datagrams: a client's to one pod while they follow each other.
func (d *door) packets(ctx context.Context, l net.PacketConn) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var mu sync.Mutex
	talks := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range talks {
			_ = c.Close()
		}
	}()
	talk := func(client netip.AddrPort) *net.UDPConn {
		mu.Lock()
		defer mu.Unlock()
		if c := talks[client]; c != nil {
			return c
		}
		pod, ok := d.next()
		if !ok {
			return nil
		}
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client.Addr(), 0)), net.UDPAddrFromAddrPort(pod))
		if err != nil {
			return nil
		}
		talks[client] = c
		d.inside.Go(func() {
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				delete(talks, client)
				_ = c.Close()
			}()
			answer := make([]byte, 64<<10)
			for {
				_ = c.SetReadDeadline(time.Now().Add(silent))
				n, err := c.Read(answer)
				if err != nil {
					return // silence, or nobody listens there
				}
				_, _ = l.WriteTo(answer[:n], net.UDPAddrFromAddrPort(client))
			}
		})
		return c
	}
	question := make([]byte, 64<<10)
	for {
		n, from, err := l.ReadFrom(question)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if c := talk(from.(*net.UDPAddr).AddrPort()); c != nil {
			_, _ = c.Write(question[:n]) // lost, as datagrams may be
		}
	}
}
