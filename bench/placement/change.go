package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	applyType = "application/apply-patch+yaml"
	jsonType  = "application/json-patch+json"
	mergeType = "application/merge-patch+json"
)

// change changes an object, or makes it by an apply; it is called with mu held.
func (s *stub) change(q question, have *item) ([]byte, error) {
	var after object
	var err error
	kind := q.r.Header.Get("Content-Type")
	switch kind {
	case applyType:
		return s.apply(q, have)
	case jsonType:
		var patch jsonpatch.Patch
		if patch, err = jsonpatch.DecodePatch(q.body); err == nil {
			q.body, err = patch.Apply(have.data)
		}
	case mergeType:
		q.body, err = jsonpatch.MergePatch(have.data, q.body)
	}
	if err == nil {
		err = json.Unmarshal(q.body, &after)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	before := have.object()
	if after.text("metadata", "resourceVersion") != before.text("metadata", "resourceVersion") {
		return nil, apierrors.NewConflict(q.gr(), q.named, errors.New("it has changed since"))
	}
	if q.sub == "status" {
		before["status"], after = after["status"], before
	} else if before["status"] != nil {
		after["status"] = before["status"]
	}
	return s.store(q, have, after)
}

// store stores an object in place of another one, unless nothing is new.
func (s *stub) store(q question, have *item, after object) ([]byte, error) {
	before := have.object()
	if !reflect.DeepEqual(before["spec"], after["spec"]) {
		n, _ := before.meta()["generation"].(float64)
		after.meta()["generation"] = n + 1
	}
	if same, err := equal(have.data, after); same || err != nil {
		return have.data, err
	}
	s.pleased += pleased(after) - pleased(before)
	i, err := s.shelf.put(q.resource, after)
	if err != nil {
		return nil, err
	}
	return i.data, nil
}

func equal(data []byte, o object) (bool, error) {
	other, err := json.Marshal(map[string]any(o))
	return bytes.Equal(data, other), err
}

// pleased is 1 for a FederatedObject of which everything is placed and ready.
func pleased(o object) int {
	if o.text("kind") != objectResource.kind || o.at("status", "observedGeneration") != o.at("metadata", "generation") {
		return 0
	}
	n := 0
	list, _ := o.at("status", "conditions").([]any)
	for _, v := range list {
		c, _ := v.(map[string]any)
		if (c["type"] == "Placed" || c["type"] == "Ready") && c["status"] == "True" {
			n++
		}
	}
	return n / 2
}

// apply is a server-side apply by the one manager that there is.
func (s *stub) apply(q question, have *item) ([]byte, error) {
	var o object
	if err := json.Unmarshal(q.body, &o); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o.meta()["namespace"] = q.namespace
	own := ownedBy(q.r.URL.Query().Get("fieldManager"), o, q.resource)
	if have == nil {
		s.shelf.fresh(o)
		o.meta()["managedFields"] = []any{own}
		i, err := s.shelf.put(q.resource, o)
		if err != nil {
			return nil, err
		}
		return i.data, s.control(i)
	}
	before := have.object()
	if status := before["status"]; status != nil {
		o["status"] = status
	}
	for _, field := range []string{"uid", "creationTimestamp", "generation", "resourceVersion"} {
		o.meta()[field] = before.meta()[field]
	}
	managers := []any{own}
	if list, ok := before.at("metadata", "managedFields").([]any); ok && len(list) > 0 {
		if was, _ := list[0].(map[string]any); was != nil && reflect.DeepEqual(was["fieldsV1"], own["fieldsV1"]) {
			own["time"] = was["time"]
		}
		managers = append(managers, list[1:]...)
	}
	o.meta()["managedFields"] = managers
	data, err := s.store(q, have, o)
	if err != nil {
		return nil, err
	}
	return data, s.control(s.shelf.items[q.key()])
}

// control is a controller that has no delay: what a Deployment wants is ready.
func (s *stub) control(i *item) error {
	if i.resource != deployResource {
		return nil
	}
	o := i.object()
	if o.at("status", "observedGeneration") == o.at("metadata", "generation") {
		return nil
	}
	n, now := o.at("spec", "replicas"), time.Now().UTC().Format(time.RFC3339)
	o["status"] = map[string]any{
		"observedGeneration": o.at("metadata", "generation"), "replicas": n, "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n,
		"conditions": []any{
			map[string]any{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.", "lastUpdateTime": now, "lastTransitionTime": now},
			map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "ReplicaSet has successfully progressed.", "lastUpdateTime": now, "lastTransitionTime": now},
		},
	}
	controller := map[string]any{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "time": now, "fieldsType": "FieldsV1", "subresource": "status",
		"fieldsV1": map[string]any{"f:status": owned(o["status"])}}
	if list, ok := o.at("metadata", "managedFields").([]any); ok && len(list) > 0 {
		o.meta()["managedFields"] = []any{list[0], controller}
	}
	_, err := s.shelf.put(i.resource, o)
	return err
}

// stir has the controller say something that is no news of Deployments, as it
// does whenever it looks again.
func (s *stub) stir(most int) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.shelf.items {
		if i.resource != deployResource || n == most {
			continue
		}
		n++
		o := i.object()
		list, _ := o.at("status", "conditions").([]any)
		for _, v := range list {
			if c, ok := v.(map[string]any); ok {
				c["lastUpdateTime"] = time.Now().UTC().Add(time.Minute).Format(time.RFC3339)
			}
		}
		if _, err := s.shelf.put(i.resource, o); err != nil {
			return n, err
		}
	}
	return n, nil
}
