//go:build e2e

package workloads

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

const federated = "/apis/meridian.dev/v1alpha1/namespaces/%s/federatedobjects/%s"

// object reads a FederatedObject of the host cluster.
func (w *world) object(ctx context.Context, namespace, name string) (*v1alpha1.FederatedObject, error) {
	raw, err := w.site(hostCluster).kube.CoreV1().RESTClient().Get().AbsPath(fmt.Sprintf(federated, namespace, name)).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	o := &v1alpha1.FederatedObject{}
	return o, json.Unmarshal(raw, o)
}

// told waits until the status of a FederatedObject pleases.
func (w *world) told(name string, within time.Duration, pleases ...func(v1alpha1.WorkloadStatus) error) {
	w.t.Helper()
	w.toldIn("default", name, within, pleases...)
}

func (w *world) toldIn(namespace, name string, within time.Duration, pleases ...func(v1alpha1.WorkloadStatus) error) {
	w.t.Helper()
	w.eventually("the status of "+name, within, func(ctx context.Context) error {
		o, err := w.object(ctx, namespace, name)
		if err != nil {
			return err
		}
		for _, p := range pleases {
			if err := p(o.Status); err != nil {
				o.Status.Memory = nil
				text, _ := json.Marshal(o.Status)
				return fmt.Errorf("%w in %s", err, text)
			}
		}
		return nil
	})
}

// say prints what a status says of a cluster, for people.
func (w *world) say(name, cluster string) {
	w.t.Helper()
	o, err := w.object(w.ctx, "default", name)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range o.Status.Clusters {
		if c.Cluster == cluster {
			w.t.Logf("%s in %s: %s %s: %s", name, cluster, c.State, c.Reason, c.Message)
		}
	}
}

// write is one of Meridian's own writes, as an API server noted it.
type write struct {
	verb, what string
	created    bool
}

// writes are all of Meridian's writes to a cluster, but for its leases.
func (s *site) writes() ([]write, error) {
	file, err := os.Open(s.auditLog())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var list []write
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Verb           string
			ObjectRef      struct{ Resource, Namespace, Name, Subresource string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the last line, while it is written
		}
		if r := e.ObjectRef; r.Resource != "leases" {
			list = append(list, write{e.Verb, strings.TrimSuffix(fmt.Sprintf("%s/%s/%s/%s", r.Resource, r.Namespace, r.Name, r.Subresource), "/"), e.ResponseStatus.Code == 201})
		}
	}
	return list, lines.Err()
}

// writes are those to all clusters, by cluster.
func (w *world) writes() map[string][]write {
	w.t.Helper()
	all := map[string][]write{}
	for _, s := range w.sites {
		list, err := s.writes()
		if err != nil {
			w.t.Fatal(err)
		}
		all[s.continent.name] = list
	}
	return all
}

// calm wants no write at all for a while, once those that are on the way are over.
func (w *world) calm(while time.Duration) {
	w.t.Helper()
	last, since := w.writes(), time.Now()
	w.eventually(fmt.Sprintf("no write for %v", while), while+60*time.Second, func(context.Context) error {
		now := w.writes()
		var fresh []string
		for name, list := range now {
			for _, x := range list[len(last[name]):] {
				fresh = append(fresh, name+": "+x.verb+" "+x.what)
			}
		}
		if len(fresh) > 0 {
			last, since = now, time.Now()
		}
		if time.Since(since) < while {
			return fmt.Errorf("the last were %v", fresh)
		}
		return nil
	})
	sum := 0
	for _, list := range last {
		sum += len(list)
	}
	if sum == 0 {
		w.t.Error("no write was ever noted, so nothing is proven")
	}
	w.t.Logf("no write in %d clusters for %v; %d before, all in all", len(w.sites), while, sum)
}
