package main

import (
	"errors"
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/discovery/kube"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/discovery/kube/renew"
	"github.com/meridian-lb/meridian/geo/steer"
)

func (c config) checkKube() error {
	switch {
	case c.kube && c.kubeconfig != "":
		return errors.New("--kube and --kubeconfig both say which cluster is watched; give one of them")
	case !c.kube && c.kubeconfig == "" && c.member != "":
		return errors.New("--member: names the cluster that --kube or --kubeconfig watch; give one of them too")
	case c.plainObjects && !c.kube && c.kubeconfig == "":
		return errors.New("--plain-objects: says what to do with the objects of the API server that --kubeconfig leads to; give that too")
	case c.plainObjects && c.member != "":
		return errors.New("--plain-objects: an API server without controllers runs nothing and is no --member; leave one of them out")
	case len(c.tokenAudiences) > 0 && (!c.kube && c.kubeconfig == "" || c.identity == ""):
		return errors.New("--token-audience: tokens are taken with --identity and --kube or --kubeconfig only; give those too")
	}
	if err := field.Label(c.namespace); err != nil && c.namespace != "" {
		return fmt.Errorf("--namespace: %w", err)
	}
	if c.member != "" {
		if err := field.Label(c.member); err != nil {
			return fmt.Errorf("--member: %w", err)
		}
	}
	return nil
}

// hostCluster is how the host cluster is reached; nil: there is none.
func (c config) hostCluster() (*rest.Config, error) {
	switch {
	case c.kube:
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("--kube: this process does not run in a pod with a ServiceAccount; give --kubeconfig instead: %w", err)
		}
		return cfg, nil
	case c.kubeconfig != "":
		cfg, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig %s: %w", c.kubeconfig, err)
		}
		return cfg, nil
	}
	return nil, nil //nolint:nilnil // none is fine
}

// clusters watches the host cluster and its members, if there is one, writes
// status back, renews the tokens by which members are watched, and carries workloads
// out in them.
func (d *daemon) clusters() (func(*steer.Plan), error) {
	host, err := d.hostCluster()
	if host == nil || err != nil {
		return nil, err
	}
	objects, err := d.plain(host)
	if err != nil {
		return nil, err
	}
	workloads, reach, err := d.workloads(host, objects)
	if err != nil {
		return nil, err
	}
	i, err := kube.New(kube.Config{
		Instance: d.instance, Host: host, Namespace: d.namespace, Member: d.member, Loopback: d.kubeLoopback,
		Dir: d.state, Known: d.hub.Remembered(), Tell: d.tell, Reach: reach, Log: d.log, Registerer: d.registry,
	})
	if err != nil {
		return nil, err
	}
	secrets, err := kubernetes.NewForConfig(credentials.Own(host))
	if err != nil {
		return nil, err
	}
	clusters, err := dynamic.NewForConfig(credentials.Own(host))
	if err != nil {
		return nil, err
	}
	tokens := renew.New(renew.Config{
		Host: secrets, Clusters: clusters, Namespace: d.namespace, Options: credentials.Options{Loopback: d.kubeLoopback}, Log: d.log, Registerer: d.registry,
	})
	d.knowing = workloads
	d.tasks = append(d.tasks, i.Run, tokens.Run, workloads.Run)
	if objects != nil {
		objects.writing.Store(workloads)
		d.tasks = append(d.tasks, objects.Run)
	}
	return func(p *steer.Plan) {
		i.Update(p)
		workloads.Update(p)
	}, nil
}
