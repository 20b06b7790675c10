package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// identity is what an object is called within a directory.
type identity struct{ kind, namespace, name string }

// object is one understood object of a file.
type object struct {
	id     identity
	origin fleet.Origin
	// value is a *corev1.Service, a *discoveryv1.EndpointSlice or a fleet value;
	// nil for an object that is fine and none of our business.
	value any
	// kept says that the file no longer shows the object in good order, and this
	// is the last good one.
	kept bool
}

// content is what a file says.
type content struct {
	objects  []object
	problems []fleet.Problem
	// broken says that something in the file could not be understood at all. It
	// may be what any object has become that was there before, so none is gone.
	broken bool
	// suspects are faulty objects of which the name is known: they may be what the
	// objects of that name have become.
	suspects map[string]bool
	// foreign are objects of kinds that are not read, by kind and name. One that
	// stood there before is not what another has become.
	foreign map[identity]bool
}

// mayHold reports whether something faulty in the file may be an object of that name.
func (c *content) mayHold(name string) bool { return c.broken || c.suspects[name] }

// decode reads a file of a cluster's directory, or of the installation's own
// (v1alpha1.HostCluster). A file that is no YAML says nothing; of every other
// file the good objects are taken, and the faulty ones are named.
func decode(cluster, file string, data []byte) content {
	d := &decoder{cluster: cluster, file: file, forms: forms(), first: map[identity]int{}}
	d.suspects, d.foreign = map[string]bool{}, map[identity]bool{}
	docs, faults, err := split(data)
	if f := (*fault)(nil); errors.As(err, &f) {
		faults = append(faults, f)
	}
	for _, f := range faults {
		d.fail(fleet.Problem{About: d.here(f.line), Reason: f.reason, Message: f.message})
	}
	for _, doc := range docs {
		d.document(doc)
	}
	slices.SortStableFunc(d.problems, fleet.Problem.Compare)
	if more := len(d.problems) - maxFaults; more > 0 {
		d.problems = append(d.problems[:maxFaults:maxFaults], fleet.Problem{About: d.here(0), Reason: "TooMany",
			Message: fmt.Sprintf("and %d faults or more beside; mend the first %d and look again", more, maxFaults)})
	}
	return d.content
}

type decoder struct {
	content
	cluster, file string
	forms         map[string]form
	first         map[identity]int // line of the first object of that name
}

// here names a place in the file of which no object is known.
func (d *decoder) here(line int) fleet.Origin {
	return fleet.Origin{Cluster: d.cluster, Kind: "File", Name: d.file, File: d.file, Line: line}
}

func (d *decoder) fail(problems ...fleet.Problem) {
	d.problems = append(d.problems, problems...)
	d.broken = true
}

// form is how one kind is read.
type form struct {
	namespaced bool
	// host says that the kind may stand in the installation's directory too, not
	// only in a cluster's.
	host bool
	// read returns the object's value. It says false when the object is not in
	// order and must not replace what was known of it.
	read func(d *decoder, doc document, o fleet.Origin) (any, []fleet.Problem, bool)
}

// forms are the kinds that files may hold, by apiVersion and kind.
func forms() map[string]form {
	return map[string]form{
		"v1/Service":                        {namespaced: true, read: (*decoder).service},
		"discovery.k8s.io/v1/EndpointSlice": {namespaced: true, read: (*decoder).slice},
		"networking.k8s.io/v1/Ingress":      {namespaced: true, host: true, read: (*decoder).ingress},
		"v1/Secret":                         {namespaced: true, host: true, read: (*decoder).secret},
		"meridian.dev/v1alpha1/Cluster":     {host: true, read: (*decoder).member},
		"meridian.dev/v1alpha1/TrafficPolicy": {namespaced: true, host: true, read: func(_ *decoder, doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
			p := &v1alpha1.TrafficPolicy{}
			return parsed(doc, o, p, func() (*fleet.PolicyRule, []fleet.Problem) { p.Namespace = o.Namespace; return p.Parse(o) })
		}},
		"meridian.dev/v1alpha1/Zone": {host: true, read: func(_ *decoder, doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
			z := &v1alpha1.Zone{}
			return parsed(doc, o, z, func() (*fleet.Zone, []fleet.Problem) { return z.Parse(o) })
		}},
	}
}

// document takes one object of the file.
func (d *decoder) document(doc document) {
	var head struct {
		Metadata struct {
			Namespace         string      `json:"namespace"`
			Name              string      `json:"name"`
			Generation        int64       `json:"generation"`
			CreationTimestamp metav1.Time `json:"creationTimestamp"`
		} `json:"metadata"`
	}
	headErr := json.Unmarshal(doc.json, &head)
	m := head.Metadata
	o := fleet.Origin{Cluster: d.cluster, Kind: doc.kind, Namespace: m.Namespace, Name: m.Name,
		Generation: m.Generation, Created: m.CreationTimestamp.UTC(), File: d.file, Line: doc.line}
	f, ok := d.forms[doc.apiVersion+"/"+doc.kind]
	switch {
	case !ok:
		o.Kind = printable(o.Kind)
		d.problems = append(d.problems, fleet.Problem{About: d.clean(o), Reason: "UnsupportedKind", Message: d.unsupported(doc)})
		switch {
		case !d.resembles(doc):
		case headErr != nil || m.Name == "":
			d.broken = true
		default:
			d.foreign[identity{doc.apiVersion + "/" + doc.kind, m.Namespace, m.Name}] = true
		}
		return
	case headErr != nil:
		d.fail(undecodable(doc, d.clean(o), headErr)...)
		return
	case m.Name == "":
		d.fail(fleet.Problem{About: d.clean(o), Reason: "NoName", Message: "metadata.name: is missing; give the object a name"})
		return
	case d.cluster == v1alpha1.HostCluster && !f.host:
		d.problems = append(d.problems, fleet.Problem{About: d.clean(o), Reason: "NoCluster",
			Message: fmt.Sprintf("a %s belongs to a cluster; move it into the directory of its cluster, next to %s", doc.kind, HostDir)})
		return
	}
	o.Namespace = namespace(f, m.Namespace)
	o = d.clean(o)
	id := identity{o.Kind, o.Namespace, o.Name}
	if line, twice := d.first[id]; twice {
		d.problems = append(d.problems, fleet.Problem{About: o, Reason: "DuplicateName", Message: fmt.Sprintf("line %d of this file already holds an object of this kind and name, and the first one counts; remove or rename one of them", line)})
		return
	}
	d.first[id] = doc.line
	value, problems, good := f.read(d, doc, o)
	problems = atTheirLines(doc, problems)
	if !good {
		d.problems = append(d.problems, problems...)
		d.suspects[o.Name] = true
		return
	}
	d.problems = append(d.problems, problems...)
	d.objects = append(d.objects, object{id: id, origin: o, value: value})
}

// resembles reports whether an object of a kind that is not read may be one that
// is, with a slip in its apiVersion or kind.
func (d *decoder) resembles(doc document) bool {
	if doc.apiVersion == "" || doc.kind == "" {
		return true
	}
	for name := range d.forms {
		i := strings.LastIndexByte(name, '/')
		if name[:i] == doc.apiVersion || name[i+1:] == doc.kind {
			return true
		}
	}
	return false
}

func namespace(f form, given string) string {
	switch {
	case !f.namespaced:
		return ""
	case given == "":
		return metav1.NamespaceDefault
	}
	return given
}

// clean makes names that are shown fit to be shown; those that are used are
// checked where they are used.
func (d *decoder) clean(o fleet.Origin) fleet.Origin {
	o.Namespace, o.Name, o.Kind = printable(o.Namespace), printable(o.Name), printable(o.Kind)
	return o
}

func (d *decoder) unsupported(doc document) string {
	names := slices.Sorted(maps.Keys(d.forms))
	if doc.apiVersion == "" || doc.kind == "" {
		return "apiVersion or kind is missing; write both, one of " + strings.Join(names, ", ")
	}
	if group, _, _ := strings.Cut(doc.apiVersion, "/"); group == v1alpha1.Group && (doc.kind == v1alpha1.KindFederatedObject || doc.kind == v1alpha1.KindPlacement) {
		return fmt.Sprintf("a %s is carried out by daemons that watch a host cluster, which keeps what became of it; send it there with kubectl apply, or set one up with \"meridian init\"", doc.kind)
	}
	return fmt.Sprintf("%s is not read from files; the kinds are %s", field.Quote(doc.apiVersion+"/"+doc.kind), strings.Join(names, ", "))
}

// service reads a Service. Everything that a file in a cluster's directory shows
// was put there for Meridian, so it is federated unless its label refuses.
func (d *decoder) service(doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
	svc := &corev1.Service{}
	if problems := strict(doc, o, svc); problems != nil {
		return nil, problems, false
	}
	svc.Namespace = o.Namespace
	if k8s.Withheld(svc) {
		return nil, nil, true
	}
	if b, problems := k8s.Backend(d.cluster, svc, nil, o); b == nil {
		return nil, problems, k8s.Outside(svc)
	}
	return svc, nil, true // what else is wrong is said when its endpoints are known
}

func (d *decoder) slice(doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
	s := &discoveryv1.EndpointSlice{}
	if problems := strict(doc, o, s); problems != nil {
		return nil, problems, false
	}
	s.Namespace = o.Namespace
	f := &field.Faults{About: o}
	if err := field.Subdomain(s.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	}
	if _, ok := k8s.ServiceOf(s); !ok {
		f.Add("metadata.labels", "do not say whose endpoints these are; add %s: and the Service's name", discoveryv1.LabelServiceName)
	}
	return s, f.Problems(), f.Count() == 0
}

func (d *decoder) ingress(doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
	ing := &networkingv1.Ingress{}
	if problems := strict(doc, o, ing); problems != nil {
		return nil, problems, false
	}
	ing.Namespace = o.Namespace
	switch k8s.Class(ing) {
	case k8s.IngressClass:
	case "":
		return nil, []fleet.Problem{{About: o, Reason: "NoClass", Message: fmt.Sprintf(
			"spec.ingressClassName: is missing, so this Ingress is nobody's; write %s to have it routed here", k8s.IngressClass)}}, true
	default:
		return nil, nil, true
	}
	set, problems := k8s.Routes(ing, o)
	return set, problems, set != nil
}

// secret reads a certificate with its key; Secrets of other types are passed over.
func (d *decoder) secret(doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
	s := &corev1.Secret{}
	if problems := strict(doc, o, s); problems != nil {
		return nil, problems, false
	}
	s.Namespace = o.Namespace
	for name, text := range s.StringData { // as an API server does when it takes the object
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[name] = []byte(text)
	}
	if c, problems := k8s.Certificate(s, o); c != nil || problems != nil {
		return c, problems, c != nil
	}
	return nil, nil, true
}

// member reads a Cluster. In a cluster's directory it can only be that cluster.
func (d *decoder) member(doc document, o fleet.Origin) (any, []fleet.Problem, bool) {
	c := &v1alpha1.Cluster{}
	if d.cluster != v1alpha1.HostCluster && o.Name != d.cluster {
		return nil, []fleet.Problem{{About: o, Reason: "WrongCluster", Message: fmt.Sprintf(
			"metadata.name: the directory is that of cluster %q, so this Cluster must have that name; rename one of the two", d.cluster)}}, false
	}
	return parsed(doc, o, c, func() (*fleet.Cluster, []fleet.Problem) { return c.Parse(o) })
}

// parsed reads one of our own kinds.
func parsed[T any](doc document, o fleet.Origin, into any, parse func() (*T, []fleet.Problem)) (any, []fleet.Problem, bool) {
	if problems := strict(doc, o, into); problems != nil {
		return nil, problems, false
	}
	v, problems := parse()
	return v, problems, v != nil
}

var unknownField = regexp.MustCompile(`^(unknown|duplicate) field "(.*)"$`)

// strict reads an object; nil means that all of it was understood. A field that
// nobody knows is a fault: most often it is a known one with a slip.
func strict(doc document, o fleet.Origin, into any) []fleet.Problem {
	unknown, err := kjson.UnmarshalStrict(doc.json, into)
	if err != nil {
		return undecodable(doc, o, err)
	}
	f := &field.Faults{About: o}
	for _, e := range unknown {
		if m := unknownField.FindStringSubmatch(e.Error()); m != nil {
			f.AddReason("UnknownField", printable(m[2]), "%s has no such field; correct its name or remove it", doc.kind)
		} else {
			f.AddReason("UnknownField", "", "%s; correct it", printable(e.Error()))
		}
	}
	return f.Problems()
}

// undecodable says why an object does not have the form of its kind.
func undecodable(doc document, o fleet.Origin, err error) []fleet.Problem {
	f := &field.Faults{About: o}
	if te := (*json.UnmarshalTypeError)(nil); errors.As(err, &te) {
		f.AddReason("InvalidForm", te.Field, "has %s where %s asks for %s; correct it", printable(te.Value), doc.kind, te.Type)
	} else {
		f.AddReason("InvalidForm", "", "cannot be read as %s: %s; correct it", field.Quote(doc.kind), printable(strings.TrimPrefix(err.Error(), "json: ")))
	}
	return atTheirLines(doc, f.Problems())
}

// atTheirLines moves problems from the object's first line to that of the field
// they name.
func atTheirLines(doc document, problems []fleet.Problem) []fleet.Problem {
	out := slices.Clone(problems)
	for i := range out {
		if line := lineOf(doc.node, field.Path(out[i].Message)); line > 0 {
			out[i].About.Line = line
		}
	}
	return out
}
