package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// watch streams events until the asker goes, its time is over, or it lags too far.
func (s *stub) watch(w http.ResponseWriter, q question) {
	query := q.r.URL.Query()
	which, err := selectionOf(q.resource, q.namespace, query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx := q.r.Context()
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	over := time.NewTimer(time.Duration(max(seconds, 1)) * time.Second)
	if seconds == 0 {
		over.Stop()
	}
	defer over.Stop()
	w.Header().Set("Content-Type", "application/json")
	flush := http.NewResponseController(w)
	at, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	if query.Get("sendInitialEvents") == "true" {
		s.mu.Lock()
		at = s.shelf.revision
		items := s.shelf.list(which)
		s.mu.Unlock()
		for _, i := range items {
			s.send(w, "ADDED", i.data)
		}
		s.send(w, "BOOKMARK", fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d","annotations":{%q:"true"}}}`,
			q.kind, q.groupVersion(), at, metav1.InitialEventsAnnotationKey))
	}
	_ = flush.Flush()
	for {
		s.mu.Lock()
		events, whole := s.shelf.since(at)
		more := s.shelf.more
		at = max(at, s.shelf.revision)
		s.mu.Unlock()
		if !whole {
			s.send(w, "ERROR", []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`))
			return
		}
		sent := false
		for _, e := range events {
			if which.means(e.item) {
				sent = true
				s.send(w, e.verb, e.item.data)
			}
		}
		if sent && flush.Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-more:
		}
	}
}

func (s *stub) send(w io.Writer, verb string, data []byte) {
	_, _ = fmt.Fprintf(w, "{\"type\":%q,\"object\":%s}\n", verb, data)
	s.count(func(t *tally) { t.Out += int64(len(data)) })
}
