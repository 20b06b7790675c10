package apply

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// outcome is what became of one object.
type outcome struct {
	state      v1alpha1.WorkloadState // empty: nobody has looked yet
	reason     string
	message    string
	generation int64 // of the FederatedObject that it was applied for; kept when a later one is refused
}

const applied = v1alpha1.WorkloadApplied

// about says of which object the outcome is, where that is not plain.
func (o outcome) about(r ref) outcome {
	if o.state == "" {
		return outcome{state: v1alpha1.WorkloadWaiting, reason: "Pending", message: r.String() + " is still to be written"}
	}
	if !strings.HasPrefix(o.message, r.Kind) {
		o.message = r.String() + ": " + o.message
	}
	return o
}

// Reasons of outcomes.
const (
	reasonExists      = "AlreadyExists"
	reasonAnother     = "OwnedByAnother"
	reasonNoKind      = "NoSuchKind"
	reasonForbidden   = "Forbidden"
	reasonRefused     = "Refused"
	reasonFields      = "FieldConflict"
	reasonTerminating = "Terminating"
	reasonUnlisted    = "NotListed"
	reasonContested   = "Contested"
	reasonGone        = "Gone"
	reasonImmutable   = "Immutable"
	reasonFailed      = "Failed"
	reasonUnasked     = "NotAsked" // whether it may be written
)

func waiting(reason, format string, args ...any) outcome {
	return outcome{state: v1alpha1.WorkloadWaiting, reason: reason, message: fmt.Sprintf(format, args...)}
}

func refused(reason, format string, args ...any) outcome {
	return outcome{state: v1alpha1.WorkloadRefused, reason: reason, message: fmt.Sprintf(format, args...)}
}

func conflict(reason, format string, args ...any) outcome {
	return outcome{state: v1alpha1.WorkloadConflict, reason: reason, message: fmt.Sprintf(format, args...)}
}

// failed says why a member did not take a write in the name of somebody, or ours.
func failed(r ref, verb string, as account, err error) outcome {
	text := reason(err)
	var status apierrors.APIStatus
	switch {
	case errors.Is(err, errMissing) || noSuchResource(err):
		return refused(reasonNoKind, "the cluster has no kind %s of the wanted version; install its definition there", r.Kind)
	case apierrors.IsConflict(err):
		return conflict(reasonFields, "%s; somebody else in the cluster manages these fields", text)
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return waiting(reasonTerminating, "the namespace %s is being deleted in the cluster", r.Namespace)
	case apierrors.IsForbidden(err) && !as.nobody():
		return lacking(r, as, text)
	case apierrors.IsForbidden(err):
		return refused(reasonForbidden, "the cluster does not let us %s it; name its kind in \"meridian join --workloads\": %s", verb, text)
	case errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500 && status.Status().Code != 429:
		return refused(reasonRefused, "the cluster refuses it: %s", text)
	}
	return waiting(reasonFailed, "could not %s it, and tries again: %s", verb, text)
}

// forbids finds what is refused in the words of an API server that asked for rights.
var forbids = regexp.MustCompile(`User "[^"]*" cannot ([a-z:-]+) resource "[^"]*" in API group "[^"]*"`)

// lacking says what an account may not do in a member, and how it may. It is short, so
// that it is shown whole.
func lacking(r ref, as account, text string) outcome {
	found := forbids.FindStringSubmatch(text)
	switch {
	case found == nil: // by admission, which has words of its own
		return refused(reasonRefused, "the cluster refuses it: %s", text)
	case strings.HasPrefix(found[1], "impersonate"): // newer API servers say for what, as in impersonate-on:serviceaccount:patch
		return refused(reasonForbidden, "the cluster does not let us act as the ServiceAccount %s; let it join again with \"meridian join --workloads --workloads-as=%s\": %s", as.name, as.name, text)
	}
	return refused(reasonForbidden, "%s; let it there: kubectl -n %s create rolebinding %s --clusterrole=edit --serviceaccount=%s:%s",
		found[0], r.Namespace, as.name, as.namespace, as.name)
}

// noSuchResource tells a kind that is not served from an object that is not there.
func noSuchResource(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	d := status.Status().Details
	return d == nil || d.Name == "" || strings.Contains(err.Error(), "the server could not find the requested resource")
}

// noNamespace reports whether a write failed because its namespace is not there.
func noNamespace(err error, namespace string) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) || namespace == "" {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces" && d.Name == namespace
}
