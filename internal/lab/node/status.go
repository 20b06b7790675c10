package node

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// view is what a pod's status is made of, besides the one that it has.
type view struct {
	addr, host netip.Addr
	states     []state // of the containers, in the order of the spec; empty before it has begun
	trouble    string  // why it has not begun
	now        time.Time
}

// finished reports whether nothing of the pod will run any more.
func finished(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}

// statusOf says how a pod is. What this node has no say in stays as it was.
func statusOf(object *corev1.Pod, v view) corev1.PodStatus {
	s := *object.Status.DeepCopy()
	if s.StartTime == nil {
		s.StartTime = stamp(v.now)
	}
	s.HostIP, s.HostIPs = v.host.String(), []corev1.HostIP{{IP: v.host.String()}}
	if v.addr.IsValid() {
		s.PodIP, s.PodIPs = v.addr.String(), []corev1.PodIP{{IP: v.addr.String()}}
	}
	s.ContainerStatuses = nil
	var unready []string
	for i, c := range object.Spec.Containers {
		st := state{trouble: v.trouble}
		if len(v.states) > 0 {
			st = v.states[i]
		}
		s.ContainerStatuses = append(s.ContainerStatuses, containerStatus(object, c, st))
		if !st.ready {
			unready = append(unready, c.Name)
		}
	}
	s.Phase = phaseOf(v.states)
	setCondition(&s, v.now, corev1.PodInitialized, true, "", "")
	reason, message := "", ""
	if len(unready) > 0 {
		reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	if s.Phase == corev1.PodSucceeded {
		reason, message = "PodCompleted", ""
	}
	setCondition(&s, v.now, corev1.ContainersReady, len(unready) == 0, reason, message)
	gated := len(unready) == 0
	for _, gate := range object.Spec.ReadinessGates {
		if gated && !holds(s.Conditions, gate.ConditionType) {
			gated, reason, message = false, "ReadinessGatesNotReady", fmt.Sprintf("condition %s does not hold", gate.ConditionType)
		}
	}
	setCondition(&s, v.now, corev1.PodReady, gated, reason, message)
	return s
}

// phaseOf sums up the containers: a pod that has ended does not come back, one
// whose containers start again and again is running all the time.
func phaseOf(states []state) corev1.PodPhase {
	started, over, failed := false, len(states) > 0, false
	for _, s := range states {
		started = started || s.running || s.exit != nil || s.over
		over = over && s.over
		failed = failed || s.exit != nil && s.exit.code != 0
	}
	switch {
	case !started:
		return corev1.PodPending
	case over && failed:
		return corev1.PodFailed
	case over:
		return corev1.PodSucceeded
	default:
		return corev1.PodRunning
	}
}

func containerStatus(object *corev1.Pod, c corev1.Container, s state) corev1.ContainerStatus {
	status := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image, ImageID: c.Image, Ready: s.ready, Started: new(bool), RestartCount: s.restarts,
	}
	*status.Started = s.running
	var ended *corev1.ContainerStateTerminated
	if s.running || s.exit != nil || s.over {
		status.ContainerID = fmt.Sprintf("lab://%s/%s/%d", object.UID, c.Name, s.restarts)
	}
	if s.exit != nil {
		ended = &corev1.ContainerStateTerminated{
			ExitCode: int32(s.exit.code), Reason: "Completed", StartedAt: *stamp(s.exit.started), FinishedAt: *stamp(s.exit.ended),
		}
		if s.exit.code != 0 {
			ended.Reason, ended.Message = "Error", s.exit.said
		}
	}
	switch {
	case s.running:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: *stamp(s.started)}
		status.LastTerminationState.Terminated = ended
	case s.over && ended == nil:
		status.State.Terminated = &corev1.ContainerStateTerminated{Reason: "Completed"}
	case s.over:
		status.State.Terminated = ended
	case s.trouble != "":
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: s.trouble}
		status.LastTerminationState.Terminated = ended
	case ended != nil:
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "it ended and will start again"}
		status.LastTerminationState.Terminated = ended
	default:
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	return status
}

// stamp is a time as the API keeps it, without fractions of a second.
func stamp(t time.Time) *metav1.Time {
	s := metav1.NewTime(t).Rfc3339Copy()
	return &s
}

func holds(conditions []corev1.PodCondition, of corev1.PodConditionType) bool {
	return slices.ContainsFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == of && c.Status == corev1.ConditionTrue })
}

func setCondition(s *corev1.PodStatus, now time.Time, of corev1.PodConditionType, holds bool, reason, message string) {
	c := corev1.PodCondition{Type: of, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: *stamp(now)}
	if holds {
		c.Status = corev1.ConditionTrue
	}
	for i, old := range s.Conditions {
		if old.Type == of {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			c.ObservedGeneration = old.ObservedGeneration
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// patchFor makes the patch from the status that the cluster knows to the one that
// is; nil if it knows. It holds for this pod only, not for one of the same name.
func patchFor(object *corev1.Pod, now corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(corev1.Pod{Status: object.Status})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(corev1.Pod{Status: now})
	if err != nil {
		return nil, err
	}
	written, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	var patch map[string]any
	if err := json.Unmarshal(written, &patch); err != nil || len(patch) == 0 {
		return nil, err
	}
	patch["metadata"] = map[string]any{"uid": object.UID}
	return json.Marshal(patch)
}
