package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	// LedgerName is the ConfigMap in the installation's namespace that records since
	// when hosts are claimed, where objects do not say it by their age.
	LedgerName = v1alpha1.LedgerName
	ledgerKey  = "claims"
	maxLedger  = 512 << 10 // bytes, some thousand claims; a ConfigMap takes twice as much
)

// ledger keeps claims over restarts, and alike in all replicas. The scribe writes
// it and every replica reads it. An author cannot write it, as he could his
// objects' annotations.
type ledger struct {
	i     *Installation
	kind  *kind
	shelf *shelf[*corev1.ConfigMap]
	want  atomic.Pointer[entry]
	// refused says why it cannot be written.
	refused atomic.Pointer[string]
	changes atomic.Int64 // of the shelf
	// Of Run's goroutine: why what it says, or has to say, is not all of it.
	faults []fleet.Problem
	// Of the scribe's goroutine: until the watch brings something, what was written
	// need not be written again, nor a failure be logged.
	written, failed entry
}

// entry is what the ledger has to say, and what it says.
type entry struct {
	over       string // the version that has it; empty: there is no ledger
	text, have string
	changes    int64 // that the watch had brought
}

func newLedger(i *Installation) *ledger {
	l := &ledger{i: i, shelf: &shelf[*corev1.ConfigMap]{
		strip: stripLedger,
	}}
	l.shelf.changed = func([]change[*corev1.ConfigMap], bool) {
		l.changes.Add(1)
		i.poke()
	}
	l.kind = &kind{resource: corev1.SchemeGroupVersion.WithResource("configmaps"), object: &corev1.ConfigMap{},
		optional: true, namespace: i.cfg.Namespace, field: "metadata.name=" + LedgerName, shelf: l.shelf}
	i.server.add(l.kind)
	return l
}

func stripLedger(o *corev1.ConfigMap) {
	stripMeta(o)
	o.BinaryData, o.Data = nil, map[string]string{ledgerKey: o.Data[ledgerKey]}
}

func (l *ledger) origin() fleet.Origin {
	return fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: "ConfigMap", Namespace: l.i.cfg.Namespace, Name: LedgerName}
}

// date says of every route set since when its hosts are claimed, and what the
// ledger has to record of it.
func (l *ledger) date(f *facts, inForce map[fleet.FactName]fleet.Value) {
	d := dating{before: routeSets{}, after: routeSets{}, now: time.Now().UTC().Truncate(time.Second)}
	silent := map[string]bool{} // namespaces with objects of which nothing usable is known
	for n, v := range inForce {
		if s, ok := v.(*fleet.RouteSet); ok {
			d.before[n.Name] = s
			if f.kept[n] || f.values[n] == nil && f.unread(n) {
				d.after[n.Name] = s
			}
		}
	}
	for n, v := range f.values {
		if s, ok := v.(*fleet.RouteSet); ok {
			d.after[n.Name] = s
		}
	}
	for n := range f.kept {
		if n.Kind == fleet.KindRoutes && d.after[n.Name] == nil {
			silent[strings.Split(n.Name, "/")[1]] = true
		}
	}
	e := &entry{changes: l.changes.Load()}
	if o, there := l.shelf.get(l.i.cfg.Namespace, LedgerName); there {
		e.over, e.have = o.ResourceVersion, o.Data[ledgerKey]
	}
	l.faults = nil
	var bad error
	if d.records, bad = readClaims(e.have); bad != nil {
		l.fault(field.Invalid, "data.%s: %v; mend or delete that line, and until then nothing is recorded", ledgerKey, bad)
	}
	cs := d.claims()
	for fact, s := range d.say(cs) {
		f.values[fleet.FactName{Kind: fleet.KindRoutes, Name: fact}] = s
	}
	record := d.record(cs)
	read := l.i.routesRead()
	for c, since := range d.records { // an object that cannot be read is not one that has gone
		if _, there := cs[c]; !there && (!read || silent[c.namespace]) {
			record[c] = since
		}
	}
	var beyond int
	if e.text, beyond = writeClaims(record); beyond > 0 {
		l.fault("TooMany", "the claims to %d hosts are beyond the %d bytes that are recorded, so after a restart they may count since their objects were made; have fewer hosts that several namespaces claim or that are added to objects later", beyond, maxLedger)
	}
	if bad != nil {
		e = nil
	}
	l.want.Store(e)
}

func (l *ledger) fault(reason, format string, args ...any) {
	l.faults = append(l.faults, fleet.Problem{About: l.origin(), Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// problems are why claims may be forgotten.
func (l *ledger) problems() []fleet.Problem {
	list := slices.Clone(l.faults)
	if apierrors.IsForbidden(l.kind.trouble()) {
		list = append(list, fleet.Problem{About: l.origin(), Reason: "Forbidden", Message: fmt.Sprintf(
			"we may not read the ConfigMap %s, so since when hosts are claimed is known from memory only; grant meridiand's ServiceAccount get, list and watch on it, as \"meridian init\" does", LedgerName)})
	}
	if why := l.refused.Load(); why != nil {
		list = append(list, fleet.Problem{About: l.origin(), Reason: "Forbidden", Message: *why})
	}
	return list
}

// routesRead reports whether everything that could name a host has been read.
func (i *Installation) routesRead() bool {
	return !slices.ContainsFunc(i.kinds, func(k *kind) bool {
		switch k.resource.Resource {
		case "ingresses", "ingressclasses", "gatewayclasses", "gateways", "httproutes", "referencegrants":
			return !k.shelf.ready() && !apierrors.IsNotFound(k.trouble())
		}
		return false
	})
}

// everyHost stands for the host that has no name: the default backend's.
const everyHost = "*"

// readClaims reads lines of "time namespace host". What comes after a line that is
// not understood is read all the same; the first such line is the error.
func readClaims(text string) (claims, error) {
	cs := claims{}
	var first error
	if len(text) > maxLedger {
		return cs, fmt.Errorf("it is %d bytes long, at most %d are read", len(text), maxLedger)
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		c, since, err := readClaim(line)
		if err != nil {
			first = cmp.Or(first, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		if _, twice := cs[c]; twice {
			first = cmp.Or(first, fmt.Errorf("line %d: the claim of %s to %s is there twice", n, c.namespace, cmp.Or(c.host, everyHost)))
			continue
		}
		cs[c] = since
	}
	return cs, first
}

func readClaim(line string) (c claim, since time.Time, err error) {
	words := strings.Split(line, " ")
	if len(words) != 3 {
		return c, since, fmt.Errorf("%s is not a time, a namespace and a host", field.Quote(line))
	}
	if since, err = time.Parse(time.RFC3339, words[0]); err != nil || since.IsZero() {
		return c, since, fmt.Errorf("%s is no time like 2026-06-01T12:00:00Z", field.Quote(words[0]))
	}
	c = claim{host: words[2], namespace: words[1]}
	if err = field.Label(c.namespace); err == nil && c.host != everyHost {
		err = field.Hostname(c.host, true)
	}
	if c.host == everyHost {
		c.host = ""
	}
	return c, since.UTC().Truncate(time.Second), err
}

// writeClaims is the inverse of readClaims. When not all fit, hosts that several
// namespaces claim come before others, and older claims before younger. Beyond is
// how many hosts are left out.
func writeClaims(cs claims) (text string, beyond int) {
	type host struct {
		rivals int
		since  time.Time
		lines  []string
		size   int
	}
	hosts := map[string]*host{}
	for _, c := range slices.SortedFunc(maps.Keys(cs), claim.compare) {
		h := hosts[c.host]
		if h == nil {
			h = &host{since: cs[c]}
			hosts[c.host] = h
		}
		if cs[c].Before(h.since) {
			h.since = cs[c]
		}
		line := fmt.Sprintf("%s %s %s\n", cs[c].UTC().Format(time.RFC3339), c.namespace, cmp.Or(c.host, everyHost))
		h.lines = append(h.lines, line)
		h.size += len(line)
		h.rivals = min(len(h.lines), 2)
	}
	left := maxLedger
	for _, name := range slices.SortedFunc(maps.Keys(hosts), func(a, b string) int {
		return cmp.Or(-cmp.Compare(hosts[a].rivals, hosts[b].rivals), hosts[a].since.Compare(hosts[b].since), cmp.Compare(a, b))
	}) {
		if h := hosts[name]; h.size <= left {
			left -= h.size
		} else {
			delete(hosts, name)
			beyond++
		}
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		for _, line := range hosts[name].lines {
			out.WriteString(line)
		}
	}
	return out.String(), beyond
}

// writeClaims has the ledger say what it has to say.
func (s *scribe) writeClaims(ctx context.Context) {
	l := s.i.ledger
	e := l.want.Load()
	if e == nil || e.text == e.have || ctx.Err() != nil {
		return
	}
	if l.written == *e {
		return // on its way back to us
	}
	err := l.write(ctx, e)
	outcome := "written"
	switch {
	case err == nil:
		l.written = *e
		s.i.log.Info("the ledger of hosts is written", "configmap", LedgerName, "claims", strings.Count(e.text, "\n"))
	case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err): // the watch brings what is newer, and we look again
		outcome = "outdated"
	default:
		outcome = "failed"
		if l.failed != *e {
			l.failed = *e
			s.i.log.Warn("the ledger of hosts could not be written", "configmap", LedgerName, "err", oneLine(err.Error()))
		}
	}
	s.i.meter.writes.WithLabelValues("configmaps", outcome).Inc()
	l.refuse(apierrors.IsForbidden(err))
}

// refuse notes whether we may write.
func (l *ledger) refuse(refused bool) {
	if refused == (l.refused.Load() != nil) {
		return
	}
	var why *string
	if refused {
		text := fmt.Sprintf("we may not write the ConfigMap %s, so since when hosts are claimed is known from memory only; grant meridiand's ServiceAccount create on configmaps, and patch on this one, as \"meridian init\" does", LedgerName)
		why = &text
	}
	l.refused.Store(why)
	l.i.poke()
}

func (l *ledger) write(ctx context.Context, e *entry) error {
	c, err := l.i.server.rest(corev1.SchemeGroupVersion)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	data := map[string]string{ledgerKey: e.text}
	if e.over == "" {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: l.i.cfg.Namespace, Name: LedgerName}, Data: data}
		return c.Post().Namespace(l.i.cfg.Namespace).Resource("configmaps").Body(o).Do(ctx).Error()
	}
	body, err := json.Marshal([]map[string]any{
		{"op": "add", "path": "/data", "value": data},
		{"op": "add", "path": "/metadata/resourceVersion", "value": e.over}, // a conflict when it is another now
	})
	if err != nil {
		return err
	}
	return c.Patch(types.JSONPatchType).Namespace(l.i.cfg.Namespace).Resource("configmaps").Name(LedgerName).Body(body).Do(ctx).Error()
}
