package node

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// source is a ConfigMap or Secret that a pod draws from.
type source struct{ kind, namespace, name string }

// values returns what a ConfigMap or Secret holds. An optional one that is not
// there holds nothing.
func (n *Node) values(s source, optional *bool) (map[string][]byte, error) {
	configMaps, secrets := n.listers()
	data := map[string][]byte{}
	var err error
	switch s.kind {
	case "ConfigMap":
		var m *corev1.ConfigMap
		if m, err = configMaps.ConfigMaps(s.namespace).Get(s.name); err == nil {
			for key, v := range m.Data {
				data[key] = []byte(v)
			}
			maps.Copy(data, m.BinaryData)
		}
	case "Secret":
		var m *corev1.Secret
		if m, err = secrets.Secrets(s.namespace).Get(s.name); err == nil {
			maps.Copy(data, m.Data)
		}
	}
	switch {
	case apierrors.IsNotFound(err) && optional != nil && *optional:
		return nil, nil
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%s %q is not there", s.kind, s.name)
	}
	return data, err
}

func (n *Node) value(s source, key string, optional *bool) (string, bool, error) {
	data, err := n.values(s, optional)
	if err != nil {
		return "", false, err
	}
	v, ok := data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("%s %q has no key %q", s.kind, s.name, key)
	}
	return string(v), ok, nil
}

// environment resolves the environment of a container.
func (n *Node) environment(object *corev1.Pod, c *corev1.Container, addr netip.Addr) (map[string]string, error) {
	env := map[string]string{}
	if at, err := url.Parse(n.cfg.REST.Host); err == nil { // as a client inside of a cluster looks for it
		env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"] = at.Hostname(), at.Port()
	}
	for _, from := range c.EnvFrom {
		var s source
		var optional *bool
		switch {
		case from.ConfigMapRef != nil:
			s, optional = source{"ConfigMap", object.Namespace, from.ConfigMapRef.Name}, from.ConfigMapRef.Optional
		case from.SecretRef != nil:
			s, optional = source{"Secret", object.Namespace, from.SecretRef.Name}, from.SecretRef.Optional
		default:
			continue
		}
		data, err := n.values(s, optional)
		if err != nil {
			return nil, err
		}
		for key, v := range data {
			env[from.Prefix+key] = string(v)
		}
	}
	for _, e := range c.Env {
		v, ok, err := n.variable(object, e, addr, env)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		if ok {
			env[e.Name] = v
		}
	}
	return env, nil
}

func (n *Node) variable(object *corev1.Pod, e corev1.EnvVar, addr netip.Addr, env map[string]string) (string, bool, error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return expand(e.Value, env), true, nil
	case from.FieldRef != nil:
		v, err := n.field(object, from.FieldRef.FieldPath, addr)
		return v, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		return n.value(source{"ConfigMap", object.Namespace, ref.Name}, ref.Key, ref.Optional)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		return n.value(source{"Secret", object.Namespace, ref.Name}, ref.Key, ref.Optional)
	default:
		return "", false, errors.New("this node fills variables from fieldRef, configMapKeyRef and secretKeyRef only")
	}
}

// field is a field of a pod, as the downward API names it.
func (n *Node) field(object *corev1.Pod, fieldPath string, addr netip.Addr) (string, error) {
	switch fieldPath {
	case "metadata.name":
		return object.Name, nil
	case "metadata.namespace":
		return object.Namespace, nil
	case "metadata.uid":
		return string(object.UID), nil
	case "metadata.labels":
		return lines(object.Labels), nil
	case "metadata.annotations":
		return lines(object.Annotations), nil
	case "spec.nodeName":
		return n.cfg.Name, nil
	case "spec.serviceAccountName":
		return object.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return addr.String(), nil
	case "status.hostIP", "status.hostIPs":
		return n.cfg.Addr.String(), nil
	}
	for prefix, from := range map[string]map[string]string{"metadata.labels['": object.Labels, "metadata.annotations['": object.Annotations} {
		if key, ok := strings.CutPrefix(fieldPath, prefix); ok {
			return from[strings.TrimSuffix(key, "']")], nil
		}
	}
	return "", fmt.Errorf("this node does not know the field %s", fieldPath)
}

// lines is how the downward API writes a map.
func lines(m map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(m)) {
		b.WriteString(key + "=" + strconv.Quote(m[key]) + "\n")
	}
	return b.String()
}

// expand replaces $(NAME) by what is known, leaves it where nothing is, and makes
// $$ a dollar.
func expand(s string, env map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, isReference := reference(after)
		v, known := env[name]
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case isReference && known:
			b.WriteString(v)
			s = rest
		default:
			b.WriteByte('$')
			s = after
		}
	}
}

func reference(s string) (name, rest string, ok bool) {
	inner, ok := strings.CutPrefix(s, "(")
	if !ok {
		return "", "", false
	}
	return strings.Cut(inner, ")")
}
