package v1alpha1

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/placement"
)

const (
	maxOverrides  = 64
	maxContainers = 32
	maxArgs       = 128
	maxVariables  = 128
	maxText       = 4096 // bytes of an argument or a variable
	maxOperations = 64
	maxPointer    = 1024
	maxPatch      = 64 << 10 // bytes of one patch
	maxOverride   = 32
)

func overrides(f *field.Faults, path string, given []Override) []placement.Override {
	var list []placement.Override
	for i, o := range bounded(f, path, given, maxOverrides) {
		path := field.Index(path, i)
		out := placement.Override{
			Where:    o.Where.parse(f, path+".where"),
			Registry: registry(f, path+".registry", o.Registry),
			Args:     args(f, path+".args", o.Args),
			Env:      env(f, path+".env", o.Env),
			Labels:   newLabels(f, path+".labels", o.Labels),
			Patch:    patch(f, path+".patch", o.Patch),
		}
		if o.Registry == "" && len(o.Args)+len(o.Env)+len(o.Labels)+len(o.Patch) == 0 {
			f.Add(path, "changes nothing; give it registry, args, env, labels or patch, or remove it")
		}
		list = append(list, out)
	}
	return list
}

var registryForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)*$`)

func registry(f *field.Faults, path, s string) string {
	if s != "" && (len(s) > 253 || !registryForm.MatchString(s)) {
		f.Add(path, "%s is no registry; write a host, with :port and /path if need be, like \"registry.example.com:5000/mirror\"", field.Quote(s))
	}
	return s
}

func container(f *field.Faults, path, name string) {
	if err := field.Label(name); err != nil {
		f.Add(path, "%v", err)
	}
}

func text(f *field.Faults, path, s string) {
	if len(s) > maxText {
		f.Add(path, "has %d bytes and at most %d are taken; put it into a ConfigMap and name that", len(s), maxText)
	}
}

func args(f *field.Faults, path string, given []ArgsOverride) map[string][]string {
	if len(given) == 0 {
		return nil
	}
	out := make(map[string][]string, min(len(given), maxContainers))
	for i, a := range bounded(f, path, given, maxContainers) {
		path := field.Index(path, i)
		container(f, path+".container", a.Container)
		if _, twice := out[a.Container]; twice {
			f.Add(path+".container", "%s is named twice; remove one of them", field.Quote(a.Container))
		}
		list := bounded(f, path+".args", a.Args, maxArgs)
		for j, s := range list {
			text(f, field.Index(path+".args", j), s)
		}
		out[a.Container] = slices.Clone(list)
	}
	return out
}

func env(f *field.Faults, path string, given []EnvOverride) map[string]map[string]string {
	if len(given) == 0 {
		return nil
	}
	out := map[string]map[string]string{}
	for i, e := range bounded(f, path, given, maxVariables) {
		path := field.Index(path, i)
		in := e.Container
		if in == "" {
			in = placement.Everywhere
		}
		if in != placement.Everywhere {
			container(f, path+".container", in)
		}
		if len(e.Name) > 256 || len(validation.IsEnvVarName(e.Name)) > 0 {
			f.Add(path+".name", "%s is no name of a variable; use letters, digits, '_', '-' and '.', and no digit first", field.Quote(e.Name))
		}
		text(f, path+".value", e.Value)
		if _, twice := out[in][e.Name]; twice {
			f.Add(path+".name", "%s is given twice for the same container; remove one of them", field.Quote(e.Name))
		}
		if out[in] == nil {
			out[in] = map[string]string{}
		}
		out[in][e.Name] = e.Value
	}
	return out
}

func newLabels(f *field.Faults, path string, given map[string]LabelValue) map[string]string {
	if len(given) == 0 {
		return nil
	}
	out := make(map[string]string, min(len(given), maxOverride))
	for _, key := range bounded(f, path, slices.Sorted(maps.Keys(given)), maxOverride) {
		labelKey(f, path, key)
		labelValue(f, path, string(given[key]))
		out[key] = string(given[key])
	}
	return out
}

// operation is one of RFC 6902, as placement keeps it.
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

func patch(f *field.Faults, path string, given []PatchOperation) []byte {
	if len(given) == 0 {
		return nil
	}
	before := f.Count()
	var list []operation
	for i, p := range bounded(f, path, given, maxOperations) {
		list = append(list, p.parse(f, field.Index(path, i)))
	}
	if f.Count() > before {
		return nil
	}
	raw, err := json.Marshal(list)
	switch {
	case err != nil: // a value that is no JSON, which no reader of JSON lets through
		f.Add(path, "cannot be written as JSON; correct its values")
		return nil
	case len(raw) > maxPatch:
		f.Add(path, "has %d bytes and at most %d are taken; put what is large into a ConfigMap, or write a FederatedObject for each group of clusters", len(raw), maxPatch)
		return nil
	}
	return raw
}

func (p *PatchOperation) parse(f *field.Faults, path string) operation {
	out := operation{Op: p.Op, Path: p.Path, Value: p.Value.Raw}
	pointer(f, path+".path", p.Path)
	needsValue, needsFrom := false, false
	switch p.Op {
	case "add", "replace", "test":
		needsValue = true
	case "move", "copy":
		needsFrom = true
	case "remove":
	default:
		f.Add(path+".op", "%s is no operation of RFC 6902; choose add, remove, replace, move, copy or test", field.Quote(p.Op))
		return out
	}
	switch {
	case needsValue && p.Value.IsZero():
		f.Add(path+".value", "is missing, and operation %s needs one; write it, null if that is meant", p.Op)
	case !needsValue && !p.Value.IsZero():
		f.Add(path+".value", "operation %s takes none; remove it, or choose add or replace", p.Op)
	case needsFrom && p.From == nil:
		f.Add(path+".from", "is missing, and operation %s needs it; write the path of what is taken", p.Op)
	case !needsFrom && p.From != nil:
		f.Add(path+".from", "operation %s takes none; remove it, or choose move or copy", p.Op)
	}
	if p.From != nil {
		pointer(f, path+".from", *p.From)
		out.From = *p.From
		if p.Op == "move" {
			identity(f, path+".from", *p.From)
		}
	}
	if p.Op != "test" {
		identity(f, path+".path", p.Path)
	}
	return out
}

// pointer checks a JSON pointer (RFC 6901).
func pointer(f *field.Faults, path, s string) {
	switch {
	case len(s) > maxPointer:
		f.Add(path, "has %d characters, at most %d are allowed", len(s), maxPointer)
	case s != "" && s[0] != '/':
		f.Add(path, "%s is no JSON pointer, which begins with '/'; write one like /spec/replicas", field.Quote(s))
	case strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~"):
		f.Add(path, "%s has a '~' that stands for nothing; write ~0 for '~' and ~1 for '/'", field.Quote(s))
	}
}

// identity refuses a path by which an object would become another one.
func identity(f *field.Faults, path, s string) {
	switch s {
	case "", "/apiVersion", "/kind", "/metadata", "/metadata/name", "/metadata/namespace", "/status":
	default:
		if !strings.HasPrefix(s, "/status/") {
			return
		}
	}
	f.Add(path, "%s is what makes the object what it is, or what clusters say of it; name a field of its own, like /spec/replicas", field.Quote(s))
}
