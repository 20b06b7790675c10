package install

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// books tell how workloads fare.
type books interface {
	// each shows all of them, one after the other, and returns the version at which a
	// watch goes on.
	each(ctx context.Context, show func(*unstructured.Unstructured)) (version string, err error)
	watch(ctx context.Context, version string) (watch.Interface, error)
}

// hostBooks are the FederatedObjects of a host.
type hostBooks struct{ *Reach }

// each shows none where the host does not know the kind.
func (b hostBooks) each(ctx context.Context, show func(*unstructured.Unstructured)) (version string, err error) {
	for from := ""; ; {
		list, err := b.dynamic.Resource(federatedResource).List(ctx, metav1.ListOptions{Limit: 50, Continue: from}) // one may have a megabyte
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", b.explain("listing FederatedObjects", err)
		}
		for i := range list.Items {
			show(&list.Items[i])
		}
		if from = list.GetContinue(); from == "" {
			return list.GetResourceVersion(), nil
		}
	}
}

func (b hostBooks) watch(ctx context.Context, version string) (watch.Interface, error) {
	w, err := b.dynamic.Resource(federatedResource).Watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	return w, b.explain("watching FederatedObjects", err)
}

// federatedObject reads one.
func federatedObject(u *unstructured.Unstructured) (*v1alpha1.FederatedObject, error) {
	o := &v1alpha1.FederatedObject{}
	raw, err := u.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(raw, o)
	}
	return o, err
}
