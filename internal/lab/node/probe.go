package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eager is how often a container is probed until it is ready for the first time,
// so that nobody waits longer than the process itself takes.
const eager = 50 * time.Millisecond

// checkProbe refuses what this node cannot probe.
func checkProbe(p *corev1.Probe) error {
	if p == nil || p.HTTPGet != nil || p.TCPSocket != nil {
		return nil
	}
	return errors.New("this node makes readiness probes by httpGet and tcpSocket only")
}

// watchReadiness tells each change of readiness until ctx ends.
func watchReadiness(ctx context.Context, c *corev1.Container, addr netip.Addr, tell func(ready bool)) {
	p := c.ReadinessProbe
	if p == nil {
		tell(true)
		return
	}
	period := seconds(p.PeriodSeconds, 10)
	ready, before := false, false // before: it was ready once
	successes, failures := int32(0), int32(0)
	for wait := seconds(p.InitialDelaySeconds, 0); pause(ctx, wait); {
		err := probe(ctx, c, addr, seconds(p.TimeoutSeconds, 1))
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			successes, failures = successes+1, 0
		} else {
			successes, failures = 0, failures+1
		}
		now := ready && failures < max(1, p.FailureThreshold) || !ready && successes >= max(1, p.SuccessThreshold)
		if now != ready {
			ready, before = now, true
			tell(ready)
		}
		if wait = period; !before {
			wait = min(period, eager)
		}
	}
}

func seconds(n, otherwise int32) time.Duration {
	if n == 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}

// pause waits; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// probe asks once.
func probe(ctx context.Context, c *corev1.Container, addr netip.Addr, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := c.ReadinessProbe
	if p.TCPSocket != nil {
		at, err := target(c, addr, p.TCPSocket.Host, p.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	get := p.HTTPGet
	at, err := target(c, addr, get.Host, get.Port)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.ToLower(string(get.Scheme))+"://"+at+get.Path, http.NoBody)
	if err != nil {
		return err
	}
	for _, h := range get.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
	}
	resp, err := prober.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return nil
}

// prober takes any certificate, as a kubelet's does: the pod is asked how it is,
// not who.
var prober = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// target is where a probe goes; a port may be named.
func target(c *corev1.Container, addr netip.Addr, host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = addr.String()
	}
	if port.Type == intstr.Int {
		return net.JoinHostPort(host, port.String()), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return net.JoinHostPort(host, fmt.Sprint(p.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("no port is named %q", port.StrVal)
}
