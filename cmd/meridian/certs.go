package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// authorityKey is the name of the authority's secret, beside its ca.crt.
const authorityKey = "ca.key"

func newCerts(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "certs", Short: "Make the installation's own authority and the identities it certifies", GroupID: "trust", Args: cobra.NoArgs,
		Long: `An identity is a directory with tls.crt, tls.key and ca.crt. meridiand is given its own with
--identity, an Envoy by its bootstrap, people by "meridian --identity". Renew one by issuing it
again into the same directory: everybody takes notice, nobody has to be restarted. Those of an
installation on Kubernetes lie in Secrets and renew themselves, by "meridian certs renew".

To replace the authority: make a second one; issue everything again from the first with
--trust SECOND/ca.crt; when all have that, issue everything from the second with
--trust FIRST/ca.crt; when all have that, issue it once more without --trust.`,
		Example: `  meridian certs init --domain mesh.example.com --out ca
  meridian certs issue control eu-0 --region europe-west1 --ca ca --out eu-0
  meridian certs issue gateway gateway-0 --region europe-west1 --ca ca --out gateway-0
  meridian certs issue operator kim --ca ca --out kim`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(newCertsInit(o), newCertsIssue(o), newCertsRenew(o), newCertsShow(o))
	return cmd
}

func newCertsInit(o *options) *cobra.Command {
	var domain, out string
	cmd := &cobra.Command{
		Use: "init", Short: "Make an authority; keep its ca.key where only those who issue can read it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := trust.NewAuthority(domain)
			if err != nil {
				return fmt.Errorf("--domain: %w", err)
			}
			key, err := a.Key()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return fmt.Errorf("--out: %w", err)
			}
			// The key first: who has no key has no authority, and one that is there is
			// never written over.
			for _, f := range []struct {
				name string
				mode os.FileMode
				body []byte
			}{{authorityKey, 0o600, key}, {trust.BundleFile, 0o644, a.Bundle()}} {
				if err := writeNew(filepath.Join(out, f.name), f.mode, f.body); err != nil {
					return err
				}
			}
			return o.said(c, map[string]any{"domain": domain, "directory": out, "expires": a.NotAfter().UTC().Format(time.RFC3339)},
				"The authority of %s is in %s, good until %s.", domain, out, a.NotAfter().UTC().Format(time.DateOnly))
		},
	}
	cmd.Flags().StringVar(&domain, "domain", "", "trust domain of the installation, like mesh.example.com (required)")
	cmd.Flags().StringVar(&out, "out", "", "directory to write ca.crt and ca.key to (required)")
	required(cmd, "domain", "out")
	return cmd
}

// writeNew writes a file that must not be there.
func writeNew(path string, mode os.FileMode, body []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s is there already and is not written over; name another directory", path)
		}
		return err
	}
	if _, err := f.Write(body); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// issuing is what "certs issue" is told.
type issuing struct {
	region   string
	ca, out  string
	lifetime time.Duration
	trusted  []string
	dns, ips []string
}

func newCertsIssue(o *options) *cobra.Command {
	var i issuing
	roles := []string{"control\ta meridiand", "gateway\tan Envoy", "operator\twho may give orders", "viewer\twho may look"}
	cmd := &cobra.Command{
		Use:   "issue {control|gateway|operator|viewer} NAME",
		Short: "Issue an identity, or renew it",
		Long: `NAME is what the bearer calls itself: a meridiand's --instance, an Envoy's node id, a person.
Region is where a control or gateway stands; each speaks for that region only.`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return roles, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, who, err := i.issue(trust.Role(args[0]), args[1])
			if err != nil {
				return err
			}
			papers, err := trust.ParsePapers(p, time.Now())
			if err != nil {
				return fmt.Errorf("what was issued is not in order: %w", err)
			}
			if err := trust.WritePEM(i.out, p); err != nil {
				return err
			}
			expires := papers.NotAfter().UTC()
			return o.said(c, map[string]any{"identity": who.String(), "directory": i.out, "expires": expires.Format(time.RFC3339)},
				"%s is in %s, good until %s.", who, i.out, expires.Format(time.DateTime+" UTC"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.region, "region", "", "region where it stands; operators and viewers stand in \"global\" unless told otherwise")
	f.StringVar(&i.ca, "ca", "", "directory of the authority, from \"meridian certs init\" (required)")
	f.StringVar(&i.out, "out", "", "directory of the identity (required)")
	f.DurationVar(&i.lifetime, "lifetime", trust.DefaultLifetime, "how long it is good for")
	f.StringArrayVar(&i.trusted, "trust", nil, "ca.crt of another authority to trust beside this one, while one replaces the other; may be repeated")
	f.StringArrayVar(&i.dns, "dns", nil, "host name to certify beside the identity, for clients other than Meridian's; may be repeated")
	f.StringArrayVar(&i.ips, "ip", nil, "address to certify likewise; may be repeated")
	required(cmd, "ca", "out")
	return cmd
}

func (i issuing) issue(role trust.Role, name string) (trust.PEM, trust.Identity, error) {
	var none trust.PEM
	bundle, err := os.ReadFile(filepath.Join(i.ca, trust.BundleFile))
	if err != nil {
		return none, trust.Identity{}, fmt.Errorf("--ca: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(i.ca, authorityKey))
	if err != nil {
		return none, trust.Identity{}, fmt.Errorf("--ca: %w", err)
	}
	a, err := trust.LoadAuthority(bundle, key)
	if err != nil {
		return none, trust.Identity{}, fmt.Errorf("--ca %s: %w", i.ca, err)
	}
	who := trust.Identity{Domain: a.Domain(), Role: role, Region: fleet.Region(i.region), Name: name}
	if who.Region == "" && (role == trust.Operator || role == trust.Viewer) {
		who.Region = "global"
	}
	if who.Region == "" && slices.Contains(trust.Roles(), role) {
		return none, who, fmt.Errorf("--region is needed: a %s speaks for the region where it stands", role)
	}
	if i.lifetime <= 0 {
		return none, who, errors.New("--lifetime: write how long it is good for, like 2160h")
	}
	r := trust.Request{Identity: who, DNSNames: i.dns, Lifetime: i.lifetime}
	for _, s := range i.ips {
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return none, who, fmt.Errorf("--ip %q is not an IP address", s)
		}
		r.IPs = append(r.IPs, ip)
	}
	p, err := a.Issue(r)
	if err != nil {
		return none, who, err
	}
	p.Bundle = bundle
	for _, path := range i.trusted {
		more, err := os.ReadFile(path)
		if err != nil {
			return none, who, fmt.Errorf("--trust: %w", err)
		}
		p.Bundle = append(append(p.Bundle, '\n'), more...)
	}
	return p, who, nil
}

func newCertsShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show DIRECTORY", Short: "Say whose an identity is, and whether it is in order", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := trust.ReadPapers(args[0])
			if err != nil {
				return err
			}
			expires := p.NotAfter().UTC()
			return o.said(c, map[string]any{"identity": p.Identity().String(), "expires": expires.Format(time.RFC3339)},
				"%s, good until %s.", p.Identity(), expires.Format(time.DateTime+" UTC"))
		},
	}
}

// required marks flags that must be given, and those that are directories.
func required(cmd *cobra.Command, names ...string) {
	for _, n := range names {
		_ = cmd.MarkFlagRequired(n)
		if n != "domain" {
			_ = cmd.MarkFlagDirname(n)
		}
	}
}

// said prints what was done, as a sentence or as fields.
func (o *options) said(c *cobra.Command, fields map[string]any, format string, args ...any) error {
	m, err := structpb.NewStruct(fields)
	if err != nil {
		return fmt.Errorf("printing what was done: %w", err)
	}
	return o.output.print(c.OutOrStdout(), m, func(t *sheet) { t.line(format, args...) })
}
