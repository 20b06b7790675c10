package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// stub speaks as much of the API of Kubernetes as placement/apply asks for:
// discovery, lists, watches with and without their list, get, create, update,
// server-side apply, merge and JSON patches, delete with a UID, and conflicts of
// resourceVersions.
//
// It leaves out: TLS, authentication and authorization, HTTP/2, protobuf, admission,
// defaults, schemas, pages of lists, conflicts between field managers (an apply replaces all but
// the status), the members of lists in managedFields, fields of other managers, storage
// on disk, and controllers but for one without delay that says of every Deployment that
// its replicas are ready.
type stub struct {
	name      string
	socket    string
	resources []resource

	mu      sync.Mutex
	shelf   *shelf
	tally   tally
	touched map[string]int // writes by namespace and name
	pleased int            // FederatedObjects that are placed and ready
	server  *http.Server   // nil: it is down
}

// tally is what was asked of stubs.
type tally struct {
	Writes, Reads, Watches, Pulses, Leases, Events int
	In, Out                                        int64 // bytes of bodies, pulses and leases not counted
	Last                                           int64 // write, Unix nanoseconds
}

func (t *tally) add(b tally) {
	t.Writes, t.Reads, t.Watches, t.Pulses, t.Leases, t.Events = t.Writes+b.Writes, t.Reads+b.Reads, t.Watches+b.Watches, t.Pulses+b.Pulses, t.Leases+b.Leases, t.Events+b.Events
	t.In, t.Out, t.Last = t.In+b.In, t.Out+b.Out, max(t.Last, b.Last)
}

func newStub(name, socket string, resources []resource) *stub {
	return &stub{name: name, socket: socket, resources: resources, shelf: newShelf(), touched: map[string]int{}}
}

// up has the stub answer.
func (s *stub) up(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "unix", s.socket)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(l) }() // until down, or this process ends
	return nil
}

// down breaks all connections and forgets what was sent in watches.
func (s *stub) down() error {
	s.mu.Lock()
	server := s.server
	s.shelf.forget()
	s.mu.Unlock()
	err := server.Close()
	_ = os.Remove(s.socket)
	return err
}

// arm begins to count anew.
func (s *stub) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally = tally{}
	clear(s.touched)
}

func (s *stub) counts() (tally, map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally, maps.Clone(s.touched)
}

// count counts something.
func (s *stub) count(f func(*tally)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.tally)
}

// question is a request as the stub understands it.
type question struct {
	resource
	namespace, named, sub string
	body                  []byte
	r                     *http.Request
}

func (q question) key() key { return key{q.name, q.namespace, q.named} }

func (q question) gr() schema.GroupResource {
	return schema.GroupResource{Group: q.group, Resource: q.name}
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := question{r: r}
	var ok bool
	if q.resource, q.namespace, q.named, q.sub, ok = find(s.resources, r.URL.Path); !ok {
		s.discover(w, r)
		return
	}
	var err error
	if q.body, err = io.ReadAll(io.LimitReader(r.Body, 4<<20)); err != nil {
		return
	}
	if r.Method == http.MethodGet && r.URL.Query().Get("watch") != "" {
		s.count(func(t *tally) { t.Watches++ })
		s.watch(w, q)
		return
	}
	data, err := s.answer(q)
	status := http.StatusOK
	if err != nil {
		var told apierrors.APIStatus
		if !errors.As(err, &told) {
			told = apierrors.NewInternalError(err)
		}
		body := told.Status()
		body.Kind, body.APIVersion = "Status", "v1"
		status = int(body.Code)
		data, _ = json.Marshal(body)
	}
	s.note(q, len(data))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// note counts a question and its answer.
func (s *stub) note(q question, out int) {
	s.count(func(t *tally) {
		switch {
		case q.name == leaseResource.name:
			t.Leases++
			return
		case q.r.Method == http.MethodGet && q.resource == namespaceResource:
			t.Pulses++
			return
		case q.r.Method == http.MethodGet:
			t.Reads++
		default:
			t.Writes++
			t.Last = time.Now().UnixNano()
			if q.resource == eventResource {
				t.Events++
			} else {
				s.touched[q.namespace+"/"+q.named]++
			}
		}
		t.In, t.Out = t.In+int64(len(q.body)), t.Out+int64(out)
	})
}

// discover lists the resources of an API group.
func (s *stub) discover(w http.ResponseWriter, r *http.Request) {
	s.count(func(t *tally) { t.Reads++ })
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}}
	list.GroupVersion = strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/apis/"), "/api/")
	for _, have := range s.resources {
		if have.groupVersion() == list.GroupVersion {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: have.name, Kind: have.kind, Namespaced: have.namespaced, Verbs: metav1.Verbs{"get", "list", "watch", "create", "patch", "update", "delete"}})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if len(list.APIResources) == 0 {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"the server could not find the requested resource"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(list)
}

func (s *stub) answer(q question) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.shelf.items[q.key()]
	if q.named == "" && q.r.Method == http.MethodGet {
		return s.list(q)
	}
	if have == nil && q.r.Method != http.MethodPost && q.r.Header.Get("Content-Type") != applyType {
		return nil, apierrors.NewNotFound(q.gr(), q.named)
	}
	switch q.r.Method {
	case http.MethodGet:
		return have.data, nil
	case http.MethodPost:
		return s.create(q)
	case http.MethodPut, http.MethodPatch:
		return s.change(q, have)
	case http.MethodDelete:
		return s.remove(q, have)
	}
	return nil, apierrors.NewMethodNotSupported(q.gr(), q.r.Method)
}

func (s *stub) list(q question) ([]byte, error) {
	which, err := selectionOf(q.resource, q.namespace, q.r.URL.Query())
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	items := []json.RawMessage{}
	for _, i := range s.shelf.list(which) {
		items = append(items, i.data)
	}
	return json.Marshal(map[string]any{"kind": q.kind + "List", "apiVersion": q.groupVersion(),
		"metadata": map[string]any{"resourceVersion": strconv.FormatUint(s.shelf.revision, 10)}, "items": items})
}

func (s *stub) create(q question) ([]byte, error) {
	var o object
	if err := json.Unmarshal(q.body, &o); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if q.resource == eventResource { // nobody reads them
		return q.body, nil
	}
	q.named = o.text("metadata", "name")
	if s.shelf.items[q.key()] != nil {
		return nil, apierrors.NewAlreadyExists(q.gr(), q.named)
	}
	s.shelf.fresh(o)
	o.meta()["namespace"] = q.namespace
	i, err := s.shelf.put(q.resource, o)
	if err != nil {
		return nil, err
	}
	return i.data, nil
}

func (s *stub) remove(q question, have *item) ([]byte, error) {
	var o metav1.DeleteOptions
	if len(q.body) > 0 {
		if err := json.Unmarshal(q.body, &o); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if p := o.Preconditions; p != nil && p.UID != nil && string(*p.UID) != have.object().text("metadata", "uid") {
		return nil, apierrors.NewConflict(q.gr(), q.named, errors.New("it has another UID"))
	}
	if err := s.shelf.remove(have); err != nil {
		return nil, err
	}
	return json.Marshal(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
}
