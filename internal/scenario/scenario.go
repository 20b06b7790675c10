// Package scenario plays stories about a fleet: facts and events in; DNS answers, gateways' endpoints and explanations out.
//
// A story is a txtar file. Its comment says what happens and why it matters. Its
// files lie in directories as a meridiand would watch them, one per cluster; a
// file "NAME@2" is a later version that the story puts in place, and a file "uses"
// names a fleet that several stories share. The file "story" is the play: lines that begin with ">" are commands, what follows each
// is what came of it. Time is virtual and moves only with "wait".
package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/meridian-lb/meridian/discovery/file"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/dns"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health"
	"github.com/meridian-lb/meridian/hub"
)

// Play plays the story of an archive in a directory of its own and returns the
// "story" file as it came out.
func Play(a *txtar.Archive, dir string) (string, error) {
	p, err := newPlay(a, dir)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(p.script), "\n") {
		switch {
		case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			said, err := p.do(strings.Fields(line[2:]))
			if err != nil {
				return "", fmt.Errorf("%q: %w", line, err)
			}
			for _, s := range said {
				fmt.Fprintln(&out, "  "+s)
			}
		}
	}
	return out.String(), nil
}

// play is a story on its way.
type play struct {
	dir     string
	script  string
	later   map[string][]byte // versions to come, "eu/service.yaml@2"
	now     time.Time
	ledger  *hub.Ledger
	files   *file.Source
	dns     *dns.Server
	clients map[string]fleet.Location // named by the story
	sees    map[sight]seen            // what each vantage point sees of each region
	blind   map[fleet.Region]bool     // whose probes are not heard of any more
	claims  map[claim]time.Time       // that the host cluster's ledger records
}

// claim is a namespace's claim to a host.
type claim struct{ namespace, host string }

// sight is who looks at what.
type sight struct{ by, of fleet.Region }

type seen struct {
	ok    bool
	rtt   time.Duration
	since time.Time
	why   string
}

func newPlay(a *txtar.Archive, dir string) (*play, error) {
	p := &play{
		dir:     dir,
		later:   map[string][]byte{},
		now:     time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC),
		ledger:  hub.NewLedger(health.Rules{}),
		clients: map[string]fleet.Location{},
		sees:    map[sight]seen{},
		blind:   map[fleet.Region]bool{},
		claims:  map[claim]time.Time{},
	}
	for _, f := range a.Files {
		switch {
		case f.Name == "story":
			p.script = string(f.Data)
		case f.Name == "uses":
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", strings.TrimSpace(string(f.Data))))); err != nil {
				return nil, err
			}
		case strings.Contains(f.Name, "@"):
			p.later[f.Name] = f.Data
		default:
			if err := p.write(f.Name, f.Data); err != nil {
				return nil, err
			}
		}
	}
	if p.script == "" {
		return nil, fmt.Errorf("no file \"story\" in the archive")
	}
	var err error
	if p.dns, err = dns.New(dns.Config{Listen: []string{"127.0.0.1:0"}, Locate: p.locate, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	p.files, err = file.New(file.Config{
		Dir: dir, Instance: instance, Log: slog.New(slog.DiscardHandler),
		Tell: func(_ context.Context, u fleet.Update) { p.tell(u) },
	})
	if err != nil {
		return nil, err
	}
	p.look()
	return p, nil
}

// instance is who watches the files.
const instance = "story"

// look has the files read, as the watcher does when one changes.
func (p *play) look() { p.files.Read(context.Background()) }

func (p *play) write(name string, data []byte) error {
	path := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func (p *play) tell(u fleet.Update) {
	for i, f := range u.Put {
		if s, ok := f.Value.(*fleet.RouteSet); ok {
			u.Put[i].Value = p.dated(s)
		}
	}
	p.ledger.Tell(u, p.now)
}

// dated is a route set with the claims that the ledger records.
func (p *play) dated(s *fleet.RouteSet) *fleet.RouteSet {
	out := *s
	for _, r := range s.Routes {
		if since, ok := p.claims[claim{s.Origin.Namespace, r.Host}]; ok {
			if out.Claimed == nil {
				out.Claimed = map[string]time.Time{}
			}
			out.Claimed[r.Host] = since
		}
	}
	return &out
}

// plan is the plan of this moment.
func (p *play) plan() *steer.Plan {
	return steer.New(p.ledger.Snapshot(p.now))
}

// locate finds the clients that the story has named.
func (p *play) locate(a netip.Addr) fleet.Location {
	for _, l := range p.clients {
		if l.Prefix.Contains(a) {
			return l
		}
	}
	return fleet.Location{Layer: "default", Prefix: netip.PrefixFrom(a, 24).Masked()}
}

// do performs one command.
func (p *play) do(words []string) ([]string, error) {
	commands := map[string]func([]string) ([]string, error){
		"client": p.client, "probe": p.probe, "blind": p.blinded, "wait": p.wait, "put": p.put, "delete": p.delete,
		"claim": p.claim, "silence": p.silence, "drain": p.drain, "undrain": p.drain,
		"dns": p.ask, "http": p.http, "endpoints": p.endpoints, "regions": p.regions, "certificates": p.certificates, "problems": p.problems,
	}
	f, ok := commands[words[0]]
	if !ok {
		return nil, fmt.Errorf("no such command; there are %v", sortedKeys(commands))
	}
	if slices.Contains([]string{"drain", "undrain"}, words[0]) {
		return f(words)
	}
	return f(words[1:])
}

// client NAME PREFIX LAT,LON: somebody who will ask.
func (p *play) client(args []string) ([]string, error) {
	if len(args) != 3 {
		return nil, fmt.Errorf("write: client NAME PREFIX LAT,LON")
	}
	prefix, err := netip.ParsePrefix(args[1])
	if err != nil {
		return nil, err
	}
	lat, lon, _ := strings.Cut(args[2], ",")
	var place fleet.Place
	if place.Lat, err = strconv.ParseFloat(lat, 64); err != nil {
		return nil, err
	}
	if place.Lon, err = strconv.ParseFloat(lon, 64); err != nil {
		return nil, err
	}
	p.clients[args[0]] = fleet.Location{Place: place, Prefix: prefix, Layer: "city", City: args[0]}
	return nil, nil
}

// wait DURATION: time passes; who probes goes on probing.
func (p *play) wait(args []string) ([]string, error) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return nil, err
	}
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(min(time.Second, end.Sub(p.now)))
		p.tellSights()
		p.ledger.Snapshot(p.now)
	}
	return nil, nil
}

// put FILE@VERSION: the file is replaced, as by an editor.
func (p *play) put(args []string) ([]string, error) {
	data, ok := p.later[args[0]]
	if !ok {
		return nil, fmt.Errorf("no file %s in the archive", args[0])
	}
	name, _, _ := strings.Cut(args[0], "@")
	if err := p.write(name, data); err != nil {
		return nil, err
	}
	p.look()
	return nil, nil
}

// delete FILE: the file is deleted.
func (p *play) delete(args []string) ([]string, error) {
	if err := os.Remove(filepath.Join(p.dir, filepath.FromSlash(args[0]))); err != nil {
		return nil, err
	}
	p.look()
	return nil, nil
}

// claim NAMESPACE HOST: the ledger of the host cluster says that the host is claimed
// since now. Files do not say it, so who tells it comes first and the file later.
func (p *play) claim(args []string) ([]string, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("write: claim NAMESPACE HOST")
	}
	p.claims[claim{args[0], args[1]}] = p.now
	return nil, nil
}

// silence CLUSTER: its source loses touch.
func (p *play) silence(args []string) ([]string, error) {
	p.tell(fleet.Update{Source: hub.Source(instance, "file", args[0]), Stale: "the API server does not answer"})
	return nil, nil
}

// drain|undrain region|cluster NAME
func (p *play) drain(args []string) ([]string, error) {
	if len(args) != 3 {
		return nil, fmt.Errorf("write: %s region|cluster NAME", args[0])
	}
	p.tell(fleet.Update{Source: hub.Source(instance, "operator", ""), Put: []fleet.Fact{fleet.NewFact(args[1]+"/"+args[2], &fleet.Drain{
		Scope: fleet.Scope(args[1]), Name: args[2], On: args[0] == "drain", By: "ops",
		Order: p.plan().World.DrainOrder + 1, Since: p.now,
	})}})
	return nil, nil
}
