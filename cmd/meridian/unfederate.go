package main

import (
	"errors"
	"fmt"

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
}

func newUnfederate(o *options) *cobra.Command {
	u := &unfederating{}
	cmd := &cobra.Command{
		Use: "unfederate NAME...", Short: "Print the ordinary YAML that FederatedObjects were made of", GroupID: "place",
		Long: `unfederate prints the objects inside of FederatedObjects, which it reads from files or from the host
cluster. It changes nothing there.`,
		Example: `  meridian unfederate deployment-web -n shop --context host
  meridian unfederate -f web.yaml
  meridian federate -f deploy.yaml | meridian unfederate -f -`,
		ValidArgsFunction: cobra.NoFileCompletions,
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
			return printObjects(c.OutOrStdout(), o.output, list)
		},
	}
	u.flags(cmd)
	u.contextFlag(cmd, &u.kubeContext, "context", "context of the host cluster; default: the current one")
	cmd.Flags().StringArrayVarP(&u.files, "filename", "f", nil, "file with FederatedObjects, or - for what comes in; may be repeated")
	cmd.Flags().StringVarP(&u.namespace, "namespace", "n", "", "namespace of the FederatedObjects in the host cluster; default: the context's")
	return cmd
}

// find reads the FederatedObjects that are meant.
func (u *unfederating) find(c *cobra.Command, names []string) ([]*unstructured.Unstructured, error) {
	switch {
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
