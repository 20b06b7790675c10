package install

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/k8s"
)

// addressed lists the Ingresses of our classes that tell addresses. When nobody tends
// them any more, others (external-dns, people) would go on sending users there.
func (r *Reach) addressed(ctx context.Context) ([]networkingv1.Ingress, error) {
	classes, err := r.kube.NetworkingV1().IngressClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, r.explain("listing IngressClasses", err)
	}
	all := make([]*networkingv1.IngressClass, 0, len(classes.Items))
	for i := range classes.Items {
		all = append(all, &classes.Items[i])
	}
	ours := k8s.Classes(all)
	list, err := r.kube.NetworkingV1().Ingresses("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, r.explain("listing Ingresses", err)
	}
	var out []networkingv1.Ingress
	for i := range list.Items {
		if x := &list.Items[i]; ours[k8s.Class(x)] && len(x.Status.LoadBalancer.Ingress) > 0 {
			out = append(out, *x)
		}
	}
	return out, nil
}

// withdraw takes the addresses out of the status of Ingresses. What cannot be changed is
// said: it holds up nothing.
func (r *Reach) withdraw(ctx context.Context, ingresses []networkingv1.Ingress, p Progress) {
	for _, i := range ingresses {
		_, err := r.kube.NetworkingV1().Ingresses(i.Namespace).Patch(ctx, i.Name, types.MergePatchType, []byte(`{"status":{"loadBalancer":null}}`), metav1.PatchOptions{FieldManager: manager}, "status")
		if err != nil {
			p.Say("Note: Ingress %s/%s still tells the addresses of gateways that are gone: %v", i.Namespace, i.Name, err)
			continue
		}
		p.Say("  Ingress %s/%s tells no addresses any more", i.Namespace, i.Name)
	}
}
