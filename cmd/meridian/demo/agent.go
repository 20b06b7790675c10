package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	agentEvery = 250 * time.Millisecond
	agentFall  = 2
)

// agent stands for the kubelets of a region: it asks its pods whether they are
// ready and writes the answer into the cluster's files.
type agent struct {
	region region
	dir    string
}

// Run keeps the region's EndpointSlice true until ctx ends.
func (a agent) Run(ctx context.Context) error {
	client := &http.Client{Timeout: agentEvery, Transport: &http.Transport{DisableKeepAlives: true}}
	missed := make([]int, len(a.region.pods()))
	var written []podState
	tick := time.NewTicker(agentEvery)
	defer tick.Stop()
	for {
		var now []podState
		for i, p := range a.region.pods() {
			if ready(ctx, client, "http://"+p.addr.String()+"/healthz") {
				missed[i] = 0
			} else {
				missed[i]++
			}
			now = append(now, podState{Addr: p.addr.Addr().String(), Zone: p.zone, Ready: missed[i] < agentFall})
		}
		if ctx.Err() != nil {
			return nil
		}
		if !slices.Equal(now, written) {
			if err := writeSlice(a.dir, now); err != nil {
				return fmt.Errorf("writing the endpoints of %s: %w", a.region.name, err)
			}
			written = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
