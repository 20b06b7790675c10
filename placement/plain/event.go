package plain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// tell tells the author of an object what is wrong with its FederatedObject, at which
// he may never look.
func (f *Federator) tell(ctx context.Context, o, made *unstructured.Unstructured) {
	list, _, _ := unstructured.NestedSlice(made.Object, "status", "conditions")
	for _, c := range list {
		m, _ := c.(map[string]any)
		of, _ := m["type"].(string)
		status, _ := m["status"].(string)
		reason, _ := m["reason"].(string)
		message, _ := m["message"].(string)
		switch {
		case of == v1alpha1.ConditionConflict && status == "True",
			of == v1alpha1.ConditionAccepted && status == "False",
			of == v1alpha1.ConditionPlaced && status == "False" && reason != "Pending" && reason != string(v1alpha1.WorkloadWaiting) && reason != string(v1alpha1.WorkloadConflict):
			f.event(ctx, o, reason, message)
		}
	}
}

// event tells something of an object, once as long as API servers keep Events.
func (f *Federator) event(ctx context.Context, o *unstructured.Unstructured, reason, message string) {
	message = oneLine(message)
	sum := sha256.Sum256([]byte(string(o.GetUID()) + "\x00" + reason + "\x00" + message))
	name := o.GetName()[:min(len(o.GetName()), 200)] + "." + hex.EncodeToString(sum[:8])
	now := metav1.NewTime(time.Now())
	if f.said(name, now.Time) {
		return
	}
	e, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: name},
		InvolvedObject: corev1.ObjectReference{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()},
		Reason:         reason, Message: message, Type: corev1.EventTypeWarning, FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: "meridiand"}, ReportingController: "meridian.dev/meridiand", ReportingInstance: f.cfg.Instance,
	})
	if err == nil {
		_, err = f.client.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(o.GetNamespace()).Create(ctx, &unstructured.Unstructured{Object: e}, metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, "NamespaceTerminating") {
		f.log.Warn("an Event could not be written", "object", o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName(), "reason", reason, "err", err)
	}
}

// eventLife is how long API servers keep Events, and maxSaid how many are remembered.
const (
	eventLife = time.Hour
	maxSaid   = 10_000
)

// said reports whether an Event was written lately, and takes notice that it is now.
func (f *Federator) said(name string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, ok := f.events[name]; ok && now.Sub(at) < eventLife {
		return true
	}
	if len(f.events) >= maxSaid {
		clear(f.events)
	}
	f.events[name] = now
	return false
}

// oneLine makes text that somebody else wrote fit to be shown.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	const most = 1000
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.TrimSpace(s)
}
