// Command kube is kube-apiserver, kube-controller-manager, etcd and kubectl in one binary. It acts as the one whose
// name it is called by, so that they share the gigabyte of code that they have in common and are built in one go.
//
// It is a module of its own: its dependencies are for the lab alone, and the versions that Kubernetes pins are not
// forced on the main module.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // registers the client's own metrics, as upstream's mains do
	_ "k8s.io/component-base/metrics/prometheus/version"  // registers the build's version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	default:
		fmt.Fprintf(os.Stderr, "kube: %q is none of etcd, kube-apiserver, kube-controller-manager, kubectl: call it through a link of one of these names\n", name)
		os.Exit(2)
	}
}
