package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
)

// story is the told run: each step says what it did and what it saw.
type story struct {
	out   io.Writer
	sites []*site
	admin map[fleet.Region]adminv1.AdminClient
}

// tell runs the story. It returns an error at the first promise that was not held.
func tell(ctx context.Context, out io.Writer, sites []*site) error {
	s := &story{out: out, sites: sites, admin: map[fleet.Region]adminv1.AdminClient{}}
	for _, site := range sites {
		conn, err := grpc.NewClient(site.adminAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		s.admin[site.name] = adminv1.NewAdminClient(conn)
	}
	for _, step := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"(a) everybody reaches their own region, by DNS and by HTTP", s.everybodyAtHome},
		{"(b) Europe's backends are killed; Europeans do not notice", s.backendsDie},
		{"(c) Europe's Envoy is killed; DNS leaves Europe by quorum", s.envoyDies},
		{"(d) Europe's Envoy is back; so is its traffic", s.envoyReturns},
		{"(e) Asia is drained; nobody loses a request", s.asiaDrains},
	} {
		fmt.Fprintf(out, "\n%s\n", step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("the story broke at %s: %w", step.title, err)
		}
	}
	fmt.Fprintln(out, "\nEvery step held, and at each of them explain agreed with dig and curl.")
	return nil
}

// errNone stands for a failure where there was none.
var errNone = errors.New("none")

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, "    "+format+"\n", args...) }

func (s *story) site(r fleet.Region) *site {
	for _, x := range s.sites {
		if x.name == r {
			return x
		}
	}
	panic("no such region in the demo: " + r)
}

const (
	america fleet.Region = "us-east1"
	europe  fleet.Region = "europe-west1"
	asia    fleet.Region = "asia-east1"
)

// everybodyAtHome is step (a).
func (s *story) everybodyAtHome(ctx context.Context) error {
	for _, x := range s.sites {
		took, err := s.until(ctx, 30*time.Second, func() error { return s.agreed(ctx, x, x.name) })
		if err != nil {
			return err
		}
		s.say("%-8s %v → DNS %v → HTTP %s   (all three name servers and explain agree, %.1f s)", x.title, x.client, x.public(), x.name, took.Seconds())
	}
	return nil
}

// agreed checks that dig at every name server, curl and every daemon's explain
// say that this region's users are served by want.
func (s *story) agreed(ctx context.Context, users *site, want fleet.Region) error {
	gateway := s.site(want).public()
	for _, ns := range s.sites {
		addr, err := dig(ctx, ns.region, users.client)
		if err != nil {
			return err
		}
		if addr != gateway {
			return fmt.Errorf("dig: the name server in %s sends %s's users to %v, not to %s (%v)", ns.name, users.title, addr, want, gateway)
		}
	}
	c := newCaller(users.region)
	defer c.client.CloseIdleConnections()
	a, err := c.curl(ctx, gateway)
	if err != nil {
		return fmt.Errorf("curl: %w", err)
	}
	if a.Region != string(want) {
		return fmt.Errorf("curl: the gateway in %s answered from %s", want, a.Region)
	}
	return s.explained(ctx, users, gateway, want)
}

// explained checks what every daemon explains for the users' address.
func (s *story) explained(ctx context.Context, users *site, gateway netip.Addr, want fleet.Region) error {
	for r, client := range s.admin {
		e, err := client.Explain(ctx, &adminv1.ExplainRequest{Client: users.client.Addr().Next().String(), Host: Host, Path: "/"})
		if err != nil {
			return fmt.Errorf("explain in %s: %w", r, err)
		}
		switch {
		case e.GetAnswer().GetRegion() != string(want) || len(e.GetAnswer().GetAddresses()) != 1 || e.GetAnswer().GetAddresses()[0] != gateway.String():
			return fmt.Errorf("explain in %s: DNS answers %s %v, not %s", r, e.GetAnswer().GetRegion(), e.GetAnswer().GetAddresses(), want)
		case len(e.GetHops()) != 1 || e.GetHops()[0].GetRegion() != string(want) || !e.GetAgree():
			return fmt.Errorf("explain in %s: HTTP goes to %v: %s", r, e.GetHops(), e.GetDisagreement())
		}
	}
	return nil
}

// backendsDie is step (b). The users here keep asking the European gateway, as
// resolvers that remember would have them do.
func (s *story) backendsDie(ctx context.Context) error {
	eu := s.site(europe)
	l := &load{from: eu.region, every: 20 * time.Millisecond, to: eu.public()}
	err := s.during(ctx, l, func(ctx context.Context) error {
		if err := s.served(ctx, l, europe, 10); err != nil {
			return err
		}
		killed := time.Now()
		if err := eu.killPods(); err != nil {
			return err
		}
		if err := s.served(ctx, l, america, 25); err != nil {
			return err
		}
		s.say("killed 2 backends; the next nearest region, %s, serves after %.1f s", america, time.Since(killed).Seconds())
		if _, err := s.until(ctx, 15*time.Second, func() error { return s.agreed(ctx, eu, america) }); err != nil {
			return err
		}
		s.say("DNS, HTTP and explain send Europe's users to %s after %.1f s", america, time.Since(killed).Seconds())
		if err := s.served(ctx, l, america, 100); err != nil {
			return err
		}
		failed, _ := l.count(time.Time{})
		late, why := l.count(killed.Add(2 * time.Second))
		if late > 0 {
			return fmt.Errorf("%d requests begun later than 2 s after the kill failed, the last with: %w", late, why)
		}
		s.say("%v; %d failed in the first 2 s, none later", l, failed)
		return nil
	})
	if err != nil {
		return err
	}
	if err := eu.startPods(); err != nil {
		return err
	}
	took, err := s.until(ctx, 30*time.Second, func() error { return s.agreed(ctx, eu, europe) })
	if err != nil {
		return err
	}
	s.say("backends started again; Europe serves its users after %.1f s", took.Seconds())
	return nil
}

// envoyDies is step (c).
func (s *story) envoyDies(ctx context.Context) error {
	eu := s.site(europe)
	if err := eu.proxy.Kill(); err != nil {
		return err
	}
	took, err := s.until(ctx, 10*time.Second, func() error { return s.agreed(ctx, eu, america) })
	if err != nil {
		return fmt.Errorf("10 s after the kill: %w", err)
	}
	s.say("all three name servers left Europe after %.1f s; its users are served by %s", took.Seconds(), america)
	r, err := s.admin[asia].ListRegions(ctx, &adminv1.ListRegionsRequest{})
	if err != nil {
		return err
	}
	for _, x := range r.GetRegions() {
		if x.GetName() == string(europe) {
			s.say("asia-east1 says of %s: %s", europe, x.GetHealth().GetDetail())
		}
	}
	return nil
}

// envoyReturns is step (d).
func (s *story) envoyReturns(ctx context.Context) error {
	eu := s.site(europe)
	began := time.Now()
	if err := eu.startEnvoy(); err != nil {
		return err
	}
	if _, err := s.until(ctx, 30*time.Second, func() error { return s.agreed(ctx, eu, europe) }); err != nil {
		return err
	}
	s.say("Europe serves its users again %.1f s after Envoy was started", time.Since(began).Seconds())
	return nil
}

// asiaDrains is step (e): some users ask DNS each time, others remember Asia's address.
func (s *story) asiaDrains(ctx context.Context) error {
	as := s.site(asia)
	asking := &load{from: as.region, every: 40 * time.Millisecond}
	remembering := &load{from: as.region, every: 40 * time.Millisecond, to: as.public()}
	var next fleet.Region
	err := s.during(ctx, asking, func(ctx context.Context) error {
		return s.during(ctx, remembering, func(ctx context.Context) error {
			if err := s.served(ctx, asking, asia, 10); err != nil {
				return err
			}
			drained := time.Now()
			if _, err := s.admin[europe].Drain(ctx, &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: string(asia), Reason: "the demo's story", By: "demo"}); err != nil {
				return fmt.Errorf("draining: %w", err)
			}
			var err error
			if next, err = s.nextNearest(ctx, as); err != nil {
				return err
			}
			if _, err := s.until(ctx, 15*time.Second, func() error { return s.agreed(ctx, as, next) }); err != nil {
				return err
			}
			s.say("drained by an order given in Europe; DNS, HTTP and explain moved to %s after %.1f s", next, time.Since(drained).Seconds())
			if err := s.served(ctx, remembering, next, 50); err != nil {
				return err
			}
			return s.served(ctx, asking, next, 50)
		})
	})
	if err != nil {
		return err
	}
	for name, l := range map[string]*load{"asking DNS": asking, "remembering Asia's address": remembering} {
		if failed, why := l.count(time.Time{}); failed > 0 {
			return fmt.Errorf("%d requests of users %s failed, the last with: %w", failed, name, why)
		}
	}
	s.say("users asking DNS: %v", asking)
	s.say("users remembering Asia's address: %v", remembering)
	if _, err := s.admin[america].Undrain(ctx, &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: string(asia), By: "demo"}); err != nil {
		return fmt.Errorf("taking the drain back: %w", err)
	}
	took, err := s.until(ctx, 15*time.Second, func() error { return s.agreed(ctx, as, asia) })
	if err != nil {
		return err
	}
	s.say("undrained by an order given in America; Asia serves its users again after %.1f s", took.Seconds())
	return nil
}

// nextNearest waits until explain names another region than the users' own.
func (s *story) nextNearest(ctx context.Context, users *site) (next fleet.Region, err error) {
	_, err = s.until(ctx, 15*time.Second, func() error {
		e, err := s.admin[users.name].Explain(ctx, &adminv1.ExplainRequest{Client: users.client.Addr().Next().String(), Host: Host})
		if err != nil {
			return err
		}
		next = fleet.Region(e.GetAnswer().GetRegion())
		if next == users.name || next == "" {
			return fmt.Errorf("explain still names %q", next)
		}
		return nil
	})
	return next, err
}

// during runs a load while f runs.
func (s *story) during(ctx context.Context, l *load, f func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Run(ctx) })
	err := f(ctx)
	stop()
	if e := g.Wait(); e != nil && err == nil {
		err = e
	}
	return err
}

// served waits until a region has answered n more requests of the load.
func (s *story) served(ctx context.Context, l *load, by fleet.Region, n int) error {
	have := func() int { l.mu.Lock(); defer l.mu.Unlock(); return l.served[string(by)] }
	goal := have() + n
	_, err := s.until(ctx, 15*time.Second, func() error {
		if got := have(); got < goal {
			_, why := l.count(time.Time{})
			return fmt.Errorf("%s answered %d requests, wanted %d (%v; last failure: %w)", by, got, goal, l, cmp.Or(why, errNone))
		}
		return nil
	})
	return err
}

// until asks again and again until f holds, and says how long that took.
func (s *story) until(ctx context.Context, atMost time.Duration, f func() error) (time.Duration, error) {
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return time.Since(began), nil
		}
		if time.Since(began) > atMost {
			return 0, fmt.Errorf("not within %v: %w", atMost, err)
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
	}
}
