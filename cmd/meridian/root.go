package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// options are what every command shares.
type options struct {
	server  string
	access  access
	timeout time.Duration
	output  format
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "meridian",
		Short: "Show, explain and steer a Meridian installation",
		Long: `meridian talks to a meridiand: it shows regions, clusters, services and routes,
explains where one client's request goes and why, drains regions and clusters, and
says what each cluster gets of a workload.

"meridian demo" runs a whole installation of three regions on this machine.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&o.server, "server", cmp.Or(os.Getenv("MERIDIAN_SERVER"), "127.0.0.1:9443"), "admin API of a meridiand, host:port (env MERIDIAN_SERVER)")
	f.StringVar(&o.access.identity, "identity", os.Getenv("MERIDIAN_IDENTITY"), "directory with tls.crt, tls.key and ca.crt of an operator or viewer (env MERIDIAN_IDENTITY)")
	f.StringVar(&o.access.ca, "ca", os.Getenv("MERIDIAN_CA"), "file of the authorities to trust, for callers without --identity (env MERIDIAN_CA)")
	// A default would be printed with the help.
	f.StringVar(&o.access.token, "token", "", "bearer token; safer in the environment, where others do not see it (env MERIDIAN_TOKEN)")
	f.StringVar(&o.access.tokenFile, "token-file", "", "file that holds the bearer token")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	f.VarP(&o.output, "output", "o", "table, json or yaml")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddGroup(
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "steer", Title: "Steer:"},
		&cobra.Group{ID: "place", Title: "Place workloads:"},
		&cobra.Group{ID: "install", Title: "Install:"},
		&cobra.Group{ID: "trust", Title: "Trust:"},
		&cobra.Group{ID: "try", Title: "Try:"})
	root.AddCommand(
		newGet(o), newExplain(o), newSpread(o), newWatch(o),
		newDrain(o), newUndrain(o),
		newFederate(o), newUnfederate(o), newRender(o), newDiff(o),
		newInit(o), newJoin(o), newUnjoin(o), newUninstall(o), newCheck(o), newFurnish(),
		newCerts(o), newDemo(), newVersion(o))
	return root
}

// unreachable remembers which server an error came from.
type unreachable struct {
	server string
	err    error
}

func (u unreachable) Error() string { return u.err.Error() }
func (u unreachable) Unwrap() error { return u.err }

// ask calls one method of the admin API and gives up after the timeout.
func ask[Q, A any](ctx context.Context, o *options, req Q, method func(adminv1.AdminClient, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	var none A
	client, stop, err := o.dial()
	if err != nil {
		return none, err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	a, err := method(client, ctx, req)
	if err != nil {
		return none, unreachable{o.server, err}
	}
	return a, nil
}

func (o *options) dial() (adminv1.AdminClient, func(), error) {
	opts, err := o.access.options(o.server)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient(o.server, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("--server %q is not an address: write host:port: %w", o.server, err)
	}
	return adminv1.NewAdminClient(conn), func() { _ = conn.Close() }, nil
}
