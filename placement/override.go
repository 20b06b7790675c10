package placement

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// change applies an override to an object that is nobody else's, and returns it or
// another one in its place. The error says what to write instead.
func (o Override) change(object map[string]any, shape Shape) (map[string]any, error) {
	if o.Registry != "" || len(o.Args) > 0 || len(o.Env) > 0 {
		path, ok := shape.PodsAt()
		spec := mapAt(object, mixed(path, "spec")...)
		if !ok || spec == nil {
			return nil, fmt.Errorf("%s has no containers whose registry, args or env could be changed; use patch", textAt(object, "kind"))
		}
		for _, step := range []func(map[string]any) error{o.images, o.args, o.env} {
			if err := step(spec); err != nil {
				return nil, err
			}
		}
	}
	if err := o.labels(object, shape); err != nil {
		return nil, err
	}
	if o.Patch == nil {
		return object, nil
	}
	return patched(object, o.Patch, MaxBytes)
}

// known refuses a container that the pod has not. It would otherwise be a
// misspelling that nobody notices.
func known(spec map[string]any, name string) error {
	var names []string
	containers(spec, func(name string, _ map[string]any) { names = append(names, name) })
	if slices.Contains(names, name) {
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("there is no container %q; there are %s", name, several(names))
}

// images gives all images another registry, those of volumes too.
func (o Override) images(spec map[string]any) error {
	if o.Registry == "" {
		return nil
	}
	if err := CheckRegistry(o.Registry); err != nil {
		return err
	}
	var err error
	replace := func(what string, in map[string]any, field string) {
		name := textAt(in, field)
		if name == "" {
			return
		}
		if moved, ok := fromRegistry(name, o.Registry); ok {
			in[field] = moved
			return
		}
		err = cmp.Or(err, fmt.Errorf("the image %.128q of %s is none that could have another registry; write it like \"registry.example.com/shop/web:1.2\"", name, what))
	}
	containers(spec, func(name string, c map[string]any) { replace("container "+name, c, "image") })
	for _, v := range listAt(spec, "volumes") {
		if m := mapAt(v, "image"); m != nil {
			replace("volume "+textAt(v, "name"), m, "reference")
		}
	}
	return err
}

func (o Override) args(spec map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(o.Args)) {
		if err := known(spec, name); err != nil {
			return fmt.Errorf("args: %w", err)
		}
	}
	containers(spec, func(name string, c map[string]any) {
		args, ok := o.Args[name]
		switch {
		case !ok:
		case len(args) == 0:
			delete(c, "args")
		default:
			list := make([]any, len(args))
			for i, a := range args {
				list[i] = a
			}
			c["args"] = list
		}
	})
	return nil
}

// env sets variables: what is said of one container goes before what is said of all.
func (o Override) env(spec map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		if name != Everywhere {
			if err := known(spec, name); err != nil {
				return fmt.Errorf("env: %w", err)
			}
		}
		for _, variable := range slices.Sorted(maps.Keys(o.Env[name])) {
			if wrong := validation.IsRelaxedEnvVarName(variable); wrong != nil {
				return fmt.Errorf("env: %.64q is no name of a variable: %s", variable, strings.Join(wrong, "; "))
			}
		}
	}
	containers(spec, func(name string, c map[string]any) {
		set := maps.Clone(o.Env[Everywhere])
		if set == nil {
			set = map[string]string{}
		}
		maps.Copy(set, o.Env[name])
		if len(set) == 0 {
			return
		}
		list := slices.Clone(listAt(c, "env"))
		for i, v := range list {
			variable := textAt(v, "name")
			if value, ok := set[variable]; ok {
				list[i] = map[string]any{"name": variable, "value": value}
			}
		}
		for _, v := range list {
			delete(set, textAt(v, "name"))
		}
		for _, variable := range slices.Sorted(maps.Keys(set)) {
			list = append(list, map[string]any{"name": variable, "value": set[variable]})
		}
		c["env"] = list
	})
	return nil
}

// labels go onto the object and its pods, and never into a selector.
func (o Override) labels(object map[string]any, shape Shape) error {
	roots := [][]string{nil}
	if path, ok := shape.PodsAt(); ok && len(path) > 0 {
		roots = append(roots, path)
	}
	for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
		if err := checkLabel(key, o.Labels[key]); err != nil {
			return err
		}
		for _, root := range roots {
			at := mixed(root, "metadata", "labels", key)
			if !put(object, o.Labels[key], at...) {
				return fmt.Errorf("there can be no label at %s; let labels be a map", dotted(at[:len(at)-1]))
			}
		}
	}
	return nil
}

func checkLabel(key, value string) error {
	wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
	switch {
	case wrong != nil:
		return fmt.Errorf("%.128q cannot be a label: %s", key+"="+value, strings.Join(wrong, "; "))
	case strings.HasPrefix(key, ownPrefix):
		return fmt.Errorf("the label %s is Meridian's own; choose another", key)
	}
	return nil
}
