package apply

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

const finalizer = placement.Finalizer

// guarded reports whether a workload has our finalizer.
func (w *workload) guarded() bool { return slices.Contains(w.object.Finalizers, finalizer) }

// end takes a workload out of its clusters. Its finalizer goes when all of them have
// shown that nothing is left.
func (d *desk) end(w *workload, now time.Time) {
	if !w.guarded() {
		return
	}
	letGo := func() {
		d.a.scribe.settle(w.object, slices.DeleteFunc(slices.Clone(w.object.Finalizers), func(f string) bool { return f == finalizer }))
	}
	if d.a.members.Load() == nil {
		return // who the members are is not known yet
	}
	if w.template == nil {
		if len(w.object.Status.Clusters) == 0 {
			letGo() // it was never understood, so nothing was written
		}
		return
	}
	orphan := w.template.Orphan
	force := w.object.Annotations[v1alpha1.LetGoAnnotation] == "true"
	var views []view
	var silent, busy, stuck []string
	for _, name := range d.names() {
		m := d.members[name]
		m.put(w.object.UID, &plan{orphan: orphan, as: w.account(d.a.cfg.Account), generation: w.generation, token: "end"})
		v := view{name: name, report: m.report(w.object.UID, w.main(), w.kinds())}
		v.silent, v.why = m.pulse.silence()
		views = append(views, v)
		i := slices.IndexFunc(w.object.Status.Clusters, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == name })
		given := i >= 0 && w.object.Status.Clusters[i].AppliedGeneration > 0
		c, known := d.known[name]
		mayHave := i >= 0 || v.report.left > 0 || !known || w.template.Where.Matches(c)
		switch {
		case force && (!v.silent.IsZero() || !v.report.listed || v.report.stuck != "" || !m.showsAll(w.along)):
		case v.silent.IsZero() && given && !m.showsAll(w.along):
			silent = append(silent, name)
		case !v.silent.IsZero() && mayHave, v.silent.IsZero() && !v.report.listed && given:
			silent = append(silent, name)
		case v.report.stuck != "":
			stuck = append(stuck, name+": "+v.report.stuck)
		case v.report.left > 0:
			busy = append(busy, name)
		}
	}
	if len(silent)+len(busy)+len(stuck) == 0 {
		letGo()
		return
	}
	w.due = now.Add(5 * time.Second)
	s := statusOf(w, views, outlook{desired: -1}, now)
	s.Desired = 0
	text := "it is being deleted"
	if len(busy) > 0 {
		text += "; what is left in " + strings.Join(busy, ", ") + " goes"
	}
	if len(silent) > 0 {
		text += fmt.Sprintf("; %s cannot be asked, and may have some of it: it goes there when it can, or write the annotation %s: \"true\" to let go of what it has", strings.Join(silent, ", "), v1alpha1.LetGoAnnotation)
	}
	if len(stuck) > 0 {
		text += fmt.Sprintf("; it is not let go in %s; write the annotation %s: \"true\" to leave it there", several(stuck), v1alpha1.LetGoAnnotation)
	}
	for i := range s.Conditions {
		if c := &s.Conditions[i]; c.Type == v1alpha1.ConditionPlaced {
			c.Status, c.Reason, c.Message = "False", v1alpha1.ReasonDeleting, cut(text, 2000)
		}
	}
	d.a.scribe.write(w.object, s, false)
}
