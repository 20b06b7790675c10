package kube

import (
	"errors"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// The group and version of multi-cluster services.
var mcs = schema.GroupVersion{Group: mcsv1alpha1.GroupName, Version: "v1alpha1"}

// The group and version of the Gateway API.
var gatewayGroup = schema.GroupVersion{Group: gatewayv1.GroupName, Version: "v1"}

// newScheme knows every kind that is read or written here.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s, errors.Join(corev1.AddToScheme(s), discoveryv1.AddToScheme(s), networkingv1.AddToScheme(s),
		coordinationv1.AddToScheme(s), v1alpha1.AddToScheme(s), gatewayv1.Install(s), mcsv1alpha1.Install(s))
}

const protobuf = "application/vnd.kubernetes.protobuf"

// restConfig is cfg for one group and version. Kubernetes' own kinds travel as
// protobuf, custom ones have no such form.
func restConfig(cfg *rest.Config, s *runtime.Scheme, gv schema.GroupVersion) *rest.Config {
	own := rest.CopyConfig(cfg)
	own.GroupVersion, own.APIPath = &gv, "/apis"
	if gv.Group == "" {
		own.APIPath = "/api"
	}
	own.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	switch gv.Group {
	case v1alpha1.Group, gatewayv1.GroupName, mcs.Group:
		own.ContentType, own.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	default:
		own.ContentType, own.AcceptContentTypes = protobuf, protobuf+","+runtime.ContentTypeJSON
	}
	return own
}
