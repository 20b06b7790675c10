package apply

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Events are for people who look on, and conditions say the same for good. So that the
// many of a first pass, or of a cluster that falls silent, do not keep a status waiting
// at the host's API server, no more than these are sent in a second.
const (
	eventsASecond = 5
	eventsAtOnce  = 100
)

// budgets are what is left for Events, by their type: good news takes nothing from bad.
type budgets map[string]*rate.Limiter

func newBudgets() budgets {
	return budgets{corev1.EventTypeNormal: rate.NewLimiter(eventsASecond, eventsAtOnce), corev1.EventTypeWarning: rate.NewLimiter(eventsASecond, eventsAtOnce)}
}

// report makes an Event of every condition that became another one, as long as the
// budget lasts.
func (s *scribe) report(ctx context.Context, o *v1alpha1.FederatedObject, status *v1alpha1.WorkloadStatus, now time.Time) {
	for _, c := range status.Conditions {
		before := meta.FindStatusCondition(o.Status.Conditions, c.Type)
		if before != nil && before.Status == c.Status && before.Reason == c.Reason || before == nil && good(c) {
			continue
		}
		kind := corev1.EventTypeNormal
		if !good(c) && c.Type != v1alpha1.ConditionReady {
			kind = corev1.EventTypeWarning
		}
		if !s.budgets[kind].AllowN(now, 1) {
			continue
		}
		at := metav1.NewTime(now)
		e, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Event{
			TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
			ObjectMeta:     metav1.ObjectMeta{Namespace: o.Namespace, GenerateName: cut(o.Name, 200) + "."},
			InvolvedObject: corev1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: v1alpha1.KindFederatedObject, Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion},
			Reason:         c.Reason, Message: cut(c.Message, 1000), Type: kind, FirstTimestamp: at, LastTimestamp: at, Count: 1,
			Source: corev1.EventSource{Component: "meridiand"}, ReportingController: "meridian.dev/meridiand", ReportingInstance: s.instance,
		})
		if err != nil {
			continue
		}
		_, err = s.client.Resource(corev1.SchemeGroupVersion.WithResource("events")).Namespace(o.Namespace).Create(ctx, &unstructured.Unstructured{Object: e}, metav1.CreateOptions{})
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return // it goes with its Events; the status says what it waits for
		}
		s.complain(o, "events", err)
	}
}

// good reports whether a condition is as one wishes.
func good(c metav1.Condition) bool {
	return (c.Status == metav1.ConditionTrue) != (c.Type == v1alpha1.ConditionConflict)
}

func cut(s string, most int) string { return s[:min(len(s), most)] }
