package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// show prints what a person needs to try it and keeps a table of the regions
// until ctx ends. Users of every region make a little traffic meanwhile.
func show(ctx context.Context, out io.Writer, sites []*site, background *errgroup.Group) error {
	for i, s := range sites {
		l := &load{from: s.region, every: time.Second / time.Duration(8*(i+1))}
		background.Go(func() error { return l.Run(ctx) })
	}
	invite(out, sites)
	screen := newScreen(out)
	for i := len(sites) - 1; ; i = (i + 1) % len(sites) {
		err := watch(ctx, sites[i], screen)
		if ctx.Err() != nil {
			fmt.Fprintln(out, "\nEnding everything that was started.")
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
		// Somebody has killed that meridiand; the next region's knows as much.
		screen.draw(fmt.Sprintf("the meridiand in %s has gone (%v), asking the next one\n", sites[i].name, err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// watch draws what one region's meridiand says until its stream breaks.
func watch(ctx context.Context, s *site, screen *screen) error {
	conn, err := grpc.NewClient(s.adminAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := adminv1.NewAdminClient(conn).WatchPlan(ctx, &adminv1.WatchPlanRequest{})
	if err != nil {
		return err
	}
	for {
		summary, err := stream.Recv()
		if err != nil {
			return err
		}
		screen.draw(tableOf(summary))
	}
}

func invite(out io.Writer, sites []*site) {
	fmt.Fprintf(out, `
Three regions are up. Ask DNS as a client from somewhere (ECS), or from a region's own network:

`)
	for _, s := range sites {
		fmt.Fprintf(out, "  dig @127.0.0.1 -p %d %s +short +subnet=%v   # %s\n", sites[len(sites)-1].dns, Host, s.client, s.title)
	}
	fmt.Fprintf(out, "\nThen ask the address it gave, from that region:\n\n")
	for _, s := range sites {
		fmt.Fprintf(out, "  curl --interface %v -H 'Host: %s' http://%v:%d/   # %s\n", s.user(), Host, s.public(), frontPort, s.title)
	}
	fmt.Fprintf(out, `
  bin/meridian explain %s --client %v
  bin/meridian get regions
  bin/meridian drain region %s

Kill something: each region's Envoy, meridiand and whereami are ordinary processes. Ctrl-C ends everything.

`, Host, sites[1].client.Addr().Next(), sites[0].name)
}

// tableOf is the live table.
func tableOf(p *adminv1.PlanSummary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-14s %-10s %9s %7s %8s  %s\n", "REGION", "HEALTH", "RTT", "SHARE", "REQ/S", "NOTE")
	for _, r := range p.GetRegions() {
		health := strings.ToLower(strings.TrimPrefix(r.GetHealth().GetState().String(), "HEALTH_"))
		note := ""
		switch {
		case r.GetDrain() != "":
			health, note = "draining", r.GetDrain()
		case r.GetHealth().GetState() != adminv1.Health_HEALTH_HEALTHY:
			note = r.GetHealth().GetDetail()
		}
		rtt := "-"
		if r.GetRtt() != nil {
			rtt = fmt.Sprintf("%.1f ms", float64(r.GetRtt().AsDuration())/float64(time.Millisecond))
		}
		fmt.Fprintf(&b, "%-14s %-10s %9s %5.0f %% %8.1f  %.60s\n", r.GetName(), health, rtt, 100*r.GetShare(), r.GetRps(), note)
	}
	fmt.Fprintf(&b, "plan %d, seen from %s, %.1f requests/s, %d problems\n", p.GetGeneration(), p.GetFrom(), p.GetRps(), p.GetProblems())
	return b.String()
}

// screen draws over what it drew before on a terminal, and only what is new elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	lines    int
	last     string
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			s.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return s
}

func (s *screen) draw(text string) {
	if text == s.last {
		return
	}
	if s.terminal && s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
	}
	fmt.Fprint(s.out, text)
	s.lines, s.last = strings.Count(text, "\n"), text
}
