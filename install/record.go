package install

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// SecretRecord keeps what init was told, so that init again stays with it. It is a
// Secret because values may hold some: annotations and arguments of anybody's own.
const SecretRecord = "meridian-installation"

// The keys of the record. The values are such as helm takes with -f.
const (
	recordValues   = "values.yaml"
	recordLifetime = "certificate-lifetime"
)

// record is what an installation was told, over all of its inits.
type record struct {
	values   map[string]any // of the chart, without what is the chart's own default
	lifetime time.Duration  // of certificates; 0: nothing was said
}

// byFlag are the values that flags of their own say. They say what an installation
// is, so "--reset-values" leaves them.
var byFlag = [][]string{{"region"}, {"network"}, {"trustDomain"}, {"meridiand", "replicas"}, {"meridiand", "peers"}, {"meridiand", "kube"}, {"api", "enabled"}, {"workloads", "serviceAccount"}}

// record reads what an installation was told; nil when nothing is written down.
func (r *Reach) record(ctx context.Context, namespace string) (*record, error) {
	found, err := r.existing(ctx, namespace, SecretRecord)
	if err != nil || found[SecretRecord] == nil {
		return nil, err
	}
	rec, err := readRecord(found[SecretRecord].Data)
	if err != nil {
		return nil, fmt.Errorf("the Secret %s/%s, which keeps what \"meridian init\" was told, cannot be read; mend it, or delete it and say everything again: %w", namespace, SecretRecord, err)
	}
	return rec, nil
}

func readRecord(data map[string][]byte) (*record, error) {
	rec := &record{}
	if err := yaml.Unmarshal(data[recordValues], &rec.values); err != nil {
		return nil, fmt.Errorf("%s: %w", recordValues, err)
	}
	if err := (&Settings{}).take(rec.values); err != nil {
		return nil, fmt.Errorf("%s: %w", recordValues, err)
	}
	if region, _, _ := unstructured.NestedString(rec.values, "region"); region == "" {
		return nil, fmt.Errorf("%s names no region", recordValues)
	}
	if text := string(data[recordLifetime]); text != "" {
		var err error
		if rec.lifetime, err = time.ParseDuration(text); err != nil {
			return nil, fmt.Errorf("%s: %w", recordLifetime, err)
		}
	}
	return rec, nil
}

// secret is the record as the cluster holds it. Equal records give equal bytes.
func (rec *record) secret(namespace string) (*unstructured.Unstructured, error) {
	values, err := yaml.Marshal(rec.values)
	if err != nil {
		return nil, fmt.Errorf("writing down what init was told: %w", err)
	}
	data := map[string][]byte{recordValues: values}
	if rec.lifetime > 0 {
		data[recordLifetime] = []byte(rec.lifetime.String())
	}
	return identitySecret(namespace, SecretRecord, corev1.SecretTypeOpaque, data), nil
}

// withoutSet is what was told, but for what "--set" and "--values" have said.
func (rec *record) withoutSet() map[string]any {
	kept := map[string]any{}
	for _, path := range byFlag {
		if v, found, err := unstructured.NestedFieldNoCopy(rec.values, path...); found && err == nil {
			put(kept, v, path...)
		}
	}
	return kept
}

// put sets a value in maps of maps, which it makes.
func put(in map[string]any, v any, path ...string) {
	if len(path) > 1 {
		v = wrapped(v, path[1:])
	}
	Merge(in, map[string]any{path[0]: v})
}

func wrapped(v any, path []string) map[string]any {
	out := map[string]any{}
	put(out, v, path...)
	return out
}

// inherit lays what the settings say over what the installation was told before, so
// that init again changes only what is said anew. It returns what was told before;
// nil: nothing, or nobody knows.
func (s *Settings) inherit(ctx context.Context, r *Reach) (*record, error) {
	was, err := r.record(ctx, s.Namespace)
	if apierrors.IsForbidden(err) {
		return nil, nil // the rights that are missing are named later, all at once
	}
	if err != nil {
		return nil, err
	}
	known := was
	if was == nil {
		if known, err = r.unrecorded(ctx, s); err != nil || known == nil {
			if apierrors.IsForbidden(err) {
				err = nil // as above
			}
			return nil, err
		}
	}
	values := map[string]any{}
	if s.ResetValues {
		Merge(values, known.withoutSet())
	} else {
		Merge(values, known.values)
	}
	Merge(values, s.told())
	if now, before := values["region"], known.values["region"]; now != before {
		return nil, fmt.Errorf("the installation in %s stands in region %v and cannot move to %v: the identities of its daemons and gateways name the region, and those that run would be strangers to each other; leave --region out, or take it away with \"meridian uninstall --context %s\" and begin anew", r.Name, before, now, r.Name)
	}
	s.Values = values
	if s.CertificateLifetime == 0 {
		s.CertificateLifetime = known.lifetime
	}
	return was, s.take(values)
}

// unrecorded is what can be read of an installation that wrote nothing down: one of
// an older version. nil: there is none. What cannot be read has to be said again.
func (r *Reach) unrecorded(ctx context.Context, s *Settings) (*record, error) {
	set, err := r.kube.AppsV1().StatefulSets(s.Namespace).Get(ctx, daemonAccount, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, r.explain("reading StatefulSet "+s.Namespace+"/"+daemonAccount, err)
	case set.Labels[labelManagedBy] == "Helm":
		return nil, fmt.Errorf("helm installed what is in namespace %s of %s, and keeps its own record; change it with \"helm upgrade\", or hand it over: helm -n %s get values meridian -o yaml > values.yaml; helm -n %s uninstall meridian; meridian init --context %s -f values.yaml",
			s.Namespace, r.Name, s.Namespace, s.Namespace, r.Name)
	}
	rec, err := r.read(ctx, set)
	if err != nil {
		return nil, err
	}
	if len(s.Values) == 0 && !s.ResetValues {
		return nil, fmt.Errorf("the installation in %s is of a version that did not write down what it was told; %s can be read from what runs, but not what --set and --values said: give them again, or --reset-values if there were none", r.Name, rec)
	}
	return rec, nil
}
