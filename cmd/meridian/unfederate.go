package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/install"
)

// unfederating is what "unfederate" is told.
type unfederating struct {
	kube
	kubeContext string
	files       []string
	namespace   string
	remove      bool
	removal     install.Removal
}

func newUnfederate(o *options) *cobra.Command {
	u := &unfederating{}
	cmd := &cobra.Command{
		Use: "unfederate NAME...", Short: "Print the ordinary YAML that FederatedObjects were made of, or delete them", GroupID: "place",
		Long: `unfederate prints the objects inside of FederatedObjects, which it reads from files or from the host
cluster. It changes nothing there, unless --delete is said: then it deletes them, and waits until the
clusters have shown that nothing is left. Clusters lose what they were given, or keep it as their own with
--orphan. A cluster that does not answer is waited for, since it may still run its part; --force lets go
of it, and it keeps what it has.`,
		Example: `  meridian unfederate deployment-web -n shop --context host
  meridian unfederate -f web.yaml
  meridian federate -f deploy.yaml | meridian unfederate -f -
  meridian unfederate deployment-web -n shop --delete --orphan > web.yaml   # every cluster keeps its own`,
		RunE: func(c *cobra.Command, args []string) error {
			found, err := u.find(c, args)
			if err != nil {
				return err
			}
			list := make([]*unstructured.Unstructured, 0, len(found))
			for _, f := range found {
				object, err := v1alpha1.Unfederate(f)
				if err != nil {
					return err
				}
				list = append(list, object)
			}
			if err := printObjects(c.OutOrStdout(), o.output, list); err != nil || !u.remove {
				return err
			}
			return u.removeAll(c, found)
		},
	}
	u.flags(cmd)
	u.contextFlag(cmd, &u.kubeContext, "context", "context of the host cluster; default: the current one")
	cmd.Flags().StringArrayVarP(&u.files, "filename", "f", nil, "file with FederatedObjects, or - for what comes in; may be repeated")
	cmd.Flags().StringVarP(&u.namespace, "namespace", "n", "", "namespace of the FederatedObjects in the host cluster; default: the context's")
	cmd.ValidArgsFunction = u.workloadNames(&u.kubeContext, &u.namespace)
	cmd.Flags().BoolVar(&u.remove, "delete", false, "delete them after they are printed, and wait until they are gone")
	cmd.Flags().BoolVar(&u.removal.Orphan, "orphan", false, "with --delete: clusters keep what they have, without our marks")
	cmd.Flags().BoolVar(&u.removal.Force, "force", false, "with --delete: let go of clusters that do not answer; they keep what they have")
	cmd.Flags().DurationVar(&u.removal.Wait, "timeout", 2*time.Minute, "with --delete: how long each is waited for")
	return cmd
}

// removeAll deletes the FederatedObjects that were found in the host cluster.
func (u *unfederating) removeAll(c *cobra.Command, found []*unstructured.Unstructured) error {
	host, err := install.Open(u.kubeconfig, u.kubeContext)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := install.Remove(c.Context(), host, f, u.removal, install.Progress{W: c.ErrOrStderr()}); err != nil {
			return err
		}
	}
	return nil
}

// find reads the FederatedObjects that are meant.
func (u *unfederating) find(c *cobra.Command, names []string) ([]*unstructured.Unstructured, error) {
	switch {
	case u.remove && len(u.files) > 0:
		return nil, errors.New("--delete deletes what the host cluster has, by its name, and -f reads files; give one of the two")
	case !u.remove && (u.removal.Orphan || u.removal.Force):
		return nil, errors.New("--orphan and --force say how to delete, and nothing is deleted; add --delete, or leave them out")
	case len(u.files) > 0 && len(names) > 0:
		return nil, errors.New("names are those of objects in the host cluster, and -f reads files; give one of the two")
	case len(u.files) > 0:
		return readFiles(c, u.files)
	case len(names) == 0:
		return nil, fmt.Errorf("name FederatedObjects of the host cluster, or a file with -f; see %s --help", c.CommandPath())
	}
	namespace := u.namespace
	if namespace == "" {
		var err error
		if namespace, err = install.ContextNamespace(u.kubeconfig, u.kubeContext); err != nil {
			return nil, err
		}
	}
	host, err := install.Open(u.kubeconfig, u.kubeContext)
	if err != nil {
		return nil, err
	}
	list := make([]*unstructured.Unstructured, 0, len(names))
	for _, name := range names {
		f, err := install.Federated(c.Context(), host, namespace, name)
		if err != nil {
			return nil, err
		}
		if f == nil {
			return nil, install.NoWorkload(host, namespace, name)
		}
		list = append(list, f)
	}
	return list, nil
}
