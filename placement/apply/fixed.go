package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/placement"
)

// fixedAgain is after which time a change of what cannot be changed is tried again,
// though nothing else changed.
const fixedAgain = 10 * time.Minute

// fixed is a change that a cluster refused because it is one of what cannot be changed
// in an object. It is refused until the change or the object is another one.
type fixed struct {
	content string    // digest of what was applied
	uid     types.UID // of the cluster's object
	until   time.Time
	out     outcome
}

// refuses reports whether an object still cannot become this.
func (f fixed) refuses(content string, l *live, now time.Time) bool {
	return l != nil && f.content == content && f.uid == l.object.GetUID() && now.Before(f.until)
}

// fixedFields are the fields that a refused change is about; none: it was refused for
// something else.
func fixedFields(err error, desired, has *unstructured.Unstructured) []string {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var fields []string
	for _, c := range status.Status().Details.Causes {
		switch {
		case strings.HasSuffix(c.Message, "field is immutable"):
			fields = append(fields, c.Field)
		case strings.Contains(c.Message, "updates to statefulset spec"):
			fields = append(fields, fixedOfStatefulSet(desired, has)...)
		}
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// changeable is what may be changed in the spec of a StatefulSet.
var changeable = []string{"replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds"}

func fixedOfStatefulSet(desired, has *unstructured.Unstructured) []string {
	var fields []string
	for _, c := range placement.Differs(desired, has) {
		field, _, _ := strings.Cut(strings.TrimPrefix(c.Path, "spec."), ".")
		field, _, _ = strings.Cut(field, "[")
		if strings.HasPrefix(c.Path, "spec.") && !slices.Contains(changeable, field) {
			fields = append(fields, "spec."+field)
		}
	}
	if fields == nil {
		fields = []string{"spec"}
	}
	return fields
}

// unchangeable says that fields cannot be changed, and what helps.
func unchangeable(r ref, fields []string) outcome {
	remedy := "delete the FederatedObject and create it anew"
	switch r.Kind {
	case "StatefulSet":
		remedy = fmt.Sprintf("run \"kubectl delete sts %s --cascade=orphan\" in the cluster: it is made anew around its pods", r.Name)
	case "Job":
		remedy = "make a Job of another name"
	}
	const most = 3
	names := strings.Join(fields[:min(most, len(fields))], ", ")
	return refused(reasonImmutable, "%s of a %s cannot be changed once it is there; write it as it was, or %s", cut(names, 100), r.Kind, remedy)
}
