package install

import (
	"bytes"
	"context"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
)

// same refuses a context that leads to another cluster than the member of that name:
// one with another address and another authority than the host's credentials have.
// Either of the two may change in a cluster's life. Without credentials there is
// nothing to compare.
func (r *Reach) same(ctx context.Context, host *Reach, namespace, member string) error {
	found, err := host.existing(ctx, namespace, secretName(member))
	if err != nil {
		return err
	}
	s := found[secretName(member)]
	if s == nil {
		return nil
	}
	known, err := clientcmd.RESTConfigFromKubeConfig(s.Data[kubeconfigKey])
	if err != nil {
		return nil //nolint:nilerr // what cannot be read says nothing of whose it was
	}
	ca, err := r.authority()
	if err != nil {
		return err
	}
	if known.Host == r.Config.Host || bytes.Equal(known.CAData, ca) {
		return nil
	}
	return fmt.Errorf("context %s leads to %s, and the member %s is another cluster (%s, with another authority); give the context of that one, or let %s go first with \"meridian unjoin %s --force\"",
		r.Name, r.Config.Host, member, known.Host, member, member)
}
