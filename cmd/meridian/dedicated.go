package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/install"
)

// dedicatedAPI is what "init" is told of a dedicated API.
type dedicatedAPI struct {
	wanted    bool
	noContext bool
	server    string
}

func (d *dedicatedAPI) flags(f *pflag.FlagSet) {
	f.BoolVar(&d.wanted, "dedicated-api", false, "run a Kubernetes API of its own beside the daemons, reached by the context \"meridian\"; default: as it was, and none at first")
	f.BoolVar(&d.noContext, "no-context", false, "with a dedicated API: leave your kubeconfig as it is")
	f.StringVar(&d.server, "api-server", "", "https URL by which you reach the dedicated API; default: the address of its Service")
}

// check refuses before anything is done what could not be finished.
func (d *dedicatedAPI) check(kubeconfig string, values map[string]any, dryRun bool) error {
	if d.server != "" {
		if err := install.CheckAPIServer(d.server); err != nil {
			return err
		}
	}
	if on, _, _ := unstructured.NestedBool(values, "api", "enabled"); !on || dryRun || d.noContext {
		return nil
	}
	return install.CheckContext(kubeconfig)
}

// there reports whether what was installed has a dedicated API.
func (d *dedicatedAPI) there(parts []install.Part) bool {
	return slices.ContainsFunc(parts, func(p install.Part) bool {
		return slices.ContainsFunc(p.Objects, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == "Secret" && o.GetName() == install.SecretAPIAdmin
		})
	})
}

// finish writes the context, and the zone if there is one, and says how to go on.
func (d *dedicatedAPI) finish(c *cobra.Command, reach *install.Reach, kubeconfig string, zone *v1alpha1.Zone, p install.Progress) error {
	if !d.noContext {
		if err := install.WriteContext(c.Context(), reach, install.Namespace, kubeconfig, d.server, p); err != nil {
			return err
		}
	}
	if zone != nil {
		if err := install.WriteZone(c.Context(), reach, install.Namespace, d.server, zone, p); err != nil {
			return err
		}
	}
	fmt.Fprintf(c.OutOrStdout(), `Meridian is installed in %s, with an API of its own. When that answers, clusters join it:
  kubectl --context meridian get --raw /readyz
  meridian join NAME --context CONTEXT --host-context meridian --workloads
  kubectl --context meridian get clusters
  meridian check --context %s; meridian check --context meridian
`, reach.Name, reach.Name)
	return nil
}

func newFurnish() *cobra.Command {
	var k kube
	var namespace, values string
	var keep bool
	cmd := &cobra.Command{
		Use: "furnish", Short: "Make a dedicated API the host of an installation", Hidden: true, Args: cobra.NoArgs,
		Long: `furnish has a dedicated API hold Meridian's kinds, its namespace and the rights of its daemons. The
installation runs it by itself, beside the API server.`,
		RunE: func(c *cobra.Command, _ []string) error {
			reach, err := install.Open(k.kubeconfig, "")
			if err != nil {
				return err
			}
			told, err := readValuesFile(c, values)
			if err != nil {
				return err
			}
			if keep {
				install.KeepFurnished(c.Context(), reach, namespace, told, k.progress(c))
				return nil
			}
			_, err = install.Furnish(c.Context(), reach, namespace, told, k.progress(c))
			return err
		},
	}
	k.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&namespace, "namespace", install.Namespace, "namespace of the installation")
	f.StringVar(&values, "values", "", "YAML file with values of the chart; what they say of rights and classes counts")
	f.BoolVar(&keep, "keep", false, "wait until it answers, and look after it from then on")
	return cmd
}
