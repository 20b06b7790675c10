package kube

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// A diary of two Clusters that lead to one cluster: its endpoints count once.
func TestSameCluster(t *testing.T) {
	whole, all := t, sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	host.service(t, "shop", federated, "10.3.0.1")
	eu.service(t, "shop", federated, "10.2.0.1", "10.2.0.2")
	host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: here}, spec: {region: eu, place: {lat: "50", lon: "4"}}}`)
	host.join(t, "eu", eu.Kubeconfig())
	b := &brain{keeper: newKeeper()}
	stop := b.begin(t, Config{Host: host.REST(), Member: "here"})
	b.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.1,10.2.0.2")
	b.want(t, "i/kube/here", "backend here/default/shop 10.3.0.1")

	later := func(name string) { // by a whole second, as API servers count
		eventually(t, func() error {
			if time.Since(host.cluster(t, name).CreationTimestamp.Time) < 1100*time.Millisecond {
				return fmt.Errorf("not late yet")
			}
			return nil
		})
	}
	step(t, "the younger says nothing, and its author hears why", func(t *testing.T) {
		later("eu")
		host.join(t, "again", eu.Kubeconfig())
		b.wantProblem(t, "i/kube/again", "Cluster again in host: SameCluster: clusters eu and again are the same one")
		b.want(t, "i/kube/again")
		b.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.1,10.2.0.2")
		b.wantNoProblem(t, "i/kube/eu")
		host.wantCluster(t, "again", func(c *v1alpha1.Cluster) error {
			if r := meta.FindStatusCondition(c.Status.Conditions, "ResolvedRefs"); r == nil || r.Reason != "SameCluster" {
				return fmt.Errorf("%+v", c.Status)
			}
			return nil
		})
		host.join(t, "home", host.Kubeconfig())
		b.wantProblem(t, "i/kube/home", "SameCluster: clusters here and home are the same one")
		b.want(t, "i/kube/home")
	})
	step(t, "what changes is told once", func(t *testing.T) {
		eu.endpoints(t, "shop", "10.2.0.3")
		b.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.3")
		b.want(t, "i/kube/again")
	})
	step(t, "so it is after a restart", func(t *testing.T) {
		stop()
		b.begin(whole, Config{Host: host.REST(), Member: "here", Known: b.known()})
		b.wantProblem(t, "i/kube/again", "SameCluster")
		eu.endpoints(t, "shop", "10.2.0.4")
		b.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.4")
		b.want(t, "i/kube/again")
	})
	step(t, "a silent elder is in force, stale", func(t *testing.T) {
		host.credentials(t, "eu", host.Kubeconfig())
		b.wantStale(t, "i/kube/eu", "another cluster answers under this name")
		b.want(t, "i/kube/eu", "backend eu/default/shop 10.2.0.4")
		b.want(t, "i/kube/again")
	})
	step(t, "the younger speaks when the elder has left, be it out of touch itself", func(t *testing.T) {
		if err := eu.PauseAPI(); err != nil {
			t.Fatal(err)
		}
		b.wantStale(t, "i/kube/again", "does not answer")
		host.delete(t, clustersPath+"/eu")
		b.want(t, "i/kube/eu")
		b.want(t, "i/kube/again", "backend again/default/shop 10.2.0.4")
		b.wantNoProblem(t, "i/kube/again")
		if err := eu.ResumeAPI(); err != nil {
			t.Fatal(err)
		}
		b.wantStale(t, "i/kube/again", "")
		eu.endpoints(t, "shop", "10.2.0.6")
		b.want(t, "i/kube/again", "backend again/default/shop 10.2.0.6")
	})
}
