package install

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// federator owns the fields that "meridian federate" writes. It is not the daemons'
// name: what one of the two stops saying must not vanish because of the other.
const federator = "meridian-federate"

// maxStream is how many bytes of YAML are read, and maxObjects how many objects.
const (
	maxStream  = 64 << 20
	maxObjects = 10_000
)

// ReadObjects reads a stream of YAML documents or of JSON. Lists are taken apart.
func ReadObjects(r io.Reader) ([]*unstructured.Unstructured, error) {
	stream, err := io.ReadAll(io.LimitReader(r, maxStream+1))
	switch {
	case err != nil:
		return nil, err
	case len(stream) > maxStream:
		return nil, fmt.Errorf("it has more than %d bytes; divide it", maxStream)
	}
	documents, err := decode(stream)
	if err != nil {
		return nil, fmt.Errorf("it is no YAML of objects; correct it: %w", err)
	}
	var list []*unstructured.Unstructured
	for i, o := range documents {
		taken, err := apart(o)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		if list = append(list, taken...); len(list) > maxObjects {
			return nil, fmt.Errorf("it has more than %d objects; divide it", maxObjects)
		}
	}
	return list, nil
}

// apart is an object, or those of a list.
func apart(o *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if o.GetKind() == "" || o.GetAPIVersion() == "" {
		return nil, fmt.Errorf("it has no apiVersion and kind, so it is no object; write them")
	}
	items, is := o.Object["items"].([]any)
	if !is || !strings.HasSuffix(o.GetKind(), "List") {
		return []*unstructured.Unstructured{o}, nil
	}
	list := make([]*unstructured.Unstructured, 0, len(items))
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("items[%d] is no object; write one, or remove it", i)
		}
		one := &unstructured.Unstructured{Object: m}
		if one.GetKind() == "" && o.GetKind() != "List" { // as lists of one kind are written
			one.SetKind(strings.TrimSuffix(o.GetKind(), "List"))
			one.SetAPIVersion(o.GetAPIVersion())
		}
		if one.GetKind() == "" || one.GetAPIVersion() == "" {
			return nil, fmt.Errorf("items[%d] has no apiVersion and kind; write them", i)
		}
		list = append(list, one)
	}
	return list, nil
}

// ContextNamespace is the namespace that a context of the user's kubeconfig works in.
func ContextNamespace(kubeconfig, kubeContext string) (string, error) {
	ns, _, err := loadKubeconfig(kubeconfig, kubeContext).Namespace()
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return ns, nil
}

// Federate makes the host cluster hold FederatedObjects, by server-side apply. What is
// so already is not written.
func Federate(ctx context.Context, host *Reach, objects []*unstructured.Unstructured, p Progress) (Outcome, error) {
	var out Outcome
	for _, o := range objects {
		client, err := host.resource(ctx, o)
		if err != nil {
			return out, host.explain("applying "+name(o), err)
		}
		before, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return out, host.explain("reading "+name(o), err)
		}
		after, err := client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: federator, Force: true})
		switch {
		case err != nil:
			return out, host.explain("applying "+name(o), err)
		case missing:
			out.Created++
			p.Say("  %s created", name(o))
		case before.GetResourceVersion() != after.GetResourceVersion():
			out.Changed++
			p.Say("  %s changed", name(o))
		default:
			out.Same++
		}
	}
	return out, nil
}

// Federated reads a FederatedObject of the host cluster; nil: it has none of that name.
func Federated(ctx context.Context, host *Reach, namespace, named string) (*unstructured.Unstructured, error) {
	o, err := host.dynamic.Resource(federatedResource).Namespace(namespace).Get(ctx, named, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, host.explain("reading FederatedObject "+namespace+"/"+named, err)
}

// NoWorkload is the error for a FederatedObject that is looked for and not there.
func NoWorkload(host *Reach, namespace, named string) error {
	return fmt.Errorf("%s has no FederatedObject %s in namespace %s, or is no host cluster; \"kubectl get federatedobjects -A\" lists them, and their names begin with the kind: deployment-web", host.Name, named, namespace)
}

// FederatedNames lists the names of a namespace's FederatedObjects, sorted.
func FederatedNames(ctx context.Context, host *Reach, namespace string) ([]string, error) {
	list, err := host.dynamic.Resource(federatedResource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, host.explain("listing FederatedObjects", err)
	}
	names := make([]string, 0, len(list.Items))
	for _, o := range list.Items {
		names = append(names, o.GetName())
	}
	slices.Sort(names)
	return names, nil
}

var federatedResource = v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")
