package apply

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// rendered is an object as one workload wants it. It is never changed, and the
// members that are given equal ones share one.
type rendered struct {
	object *unstructured.Unstructured // nil: it could not be rendered
	marked *unstructured.Unstructured // for the case that nobody else needs it
}

// render renders for all members what a workload is there, equal things once.
type render struct {
	w    *workload
	made map[string]rendered
}

// of is the workload itself. Only overrides make it another one in clusters that are
// given equal parts.
func (r *render) of(c placement.Cluster, given placement.Given) (rendered, []fleet.Problem) {
	key := ""
	if len(r.w.template.Overrides) == 0 {
		key = digest(given)
	}
	return r.once(key, *r.w.template, c, given)
}

// along is an object of the host that goes along.
func (r *render) along(o *unstructured.Unstructured, c placement.Cluster) (rendered, []fleet.Problem) {
	return r.once(refOf(o).String(), placement.Template{Object: o, Origin: r.w.template.Origin}, c, placement.Given{})
}

// once renders what has not been rendered under this key; an empty one is nobody's.
func (r *render) once(key string, t placement.Template, c placement.Cluster, given placement.Given) (rendered, []fleet.Problem) {
	if out, there := r.made[key]; there {
		return out, nil
	}
	object, problems := placement.Render(t, c, given, r.w.owner())
	if object == nil {
		return rendered{}, problems
	}
	out := rendered{object: object, marked: mark(object, []types.UID{r.w.object.UID})}
	if key != "" {
		r.made[key] = out
	}
	return out, nil
}
