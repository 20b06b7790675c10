package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// files are the contents of a volume by path.
type files map[string][]byte

// token is what a pod's service account was given, for one audience.
type token struct {
	value string
	renew time.Time
}

// volumes are the volumes of one pod, on disk.
type volumes struct {
	node   *Node
	dir    string
	addr   netip.Addr
	tokens map[string]token // by audience
}

// claims is the folder, below the node's own, of what pods claim to keep: it stays
// when they go, as a disk that their successors find.
const claims = "claims"

// uses lists the ConfigMaps and Secrets that the files of a pod come from. The
// environment is read once and needs no news.
func uses(object *corev1.Pod) map[source]bool {
	used := map[source]bool{}
	add := func(kind, name string) { used[source{kind, object.Namespace, name}] = true }
	for _, v := range object.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			add("ConfigMap", v.ConfigMap.Name)
		case v.Secret != nil:
			add("Secret", v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add("ConfigMap", s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add("Secret", s.Secret.Name)
				}
			}
		}
	}
	return used
}

// mount brings the files of all volumes up to date and returns the folder of each,
// and when to come again at the latest; zero is never.
func (v *volumes) mount(ctx context.Context, object *corev1.Pod) (map[string]string, time.Time, error) {
	at := map[string]string{}
	for _, volume := range object.Spec.Volumes {
		dir := filepath.Join(v.dir, "volumes", volume.Name)
		at[volume.Name] = dir
		if volume.HostPath != nil {
			at[volume.Name] = volume.HostPath.Path
			continue
		}
		claim := volume.PersistentVolumeClaim
		if claim != nil {
			dir = filepath.Join(v.node.cfg.Dir, claims, object.Namespace+"_"+claim.ClaimName)
			at[volume.Name] = dir
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, time.Time{}, err
		}
		if volume.EmptyDir != nil || claim != nil {
			continue
		}
		content, err := v.content(ctx, object, volume)
		if err == nil {
			err = replace(dir, content)
		}
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	var again time.Time
	for _, t := range v.tokens {
		if again.IsZero() || t.renew.Before(again) {
			again = t.renew
		}
	}
	return at, again, nil
}

func (v *volumes) content(ctx context.Context, object *corev1.Pod, volume corev1.Volume) (files, error) {
	switch {
	case volume.ConfigMap != nil:
		return v.project(ctx, object, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: volume.ConfigMap.LocalObjectReference, Items: volume.ConfigMap.Items, Optional: volume.ConfigMap.Optional,
		}})
	case volume.Secret != nil:
		return v.project(ctx, object, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: volume.Secret.SecretName}, Items: volume.Secret.Items, Optional: volume.Secret.Optional,
		}})
	case volume.DownwardAPI != nil:
		return v.project(ctx, object, corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: volume.DownwardAPI.Items}})
	case volume.Projected != nil:
		all := files{}
		for _, s := range volume.Projected.Sources {
			some, err := v.project(ctx, object, s)
			if err != nil {
				return nil, err
			}
			maps.Copy(all, some)
		}
		return all, nil
	default:
		return nil, errors.New("this node has configMap, secret, projected, downwardAPI, emptyDir, hostPath and persistentVolumeClaim volumes only")
	}
}

func (v *volumes) project(ctx context.Context, object *corev1.Pod, from corev1.VolumeProjection) (files, error) {
	switch {
	case from.ConfigMap != nil:
		data, err := v.node.values(source{"ConfigMap", object.Namespace, from.ConfigMap.Name}, from.ConfigMap.Optional)
		return pick(data, from.ConfigMap.Items, from.ConfigMap.Optional, err)
	case from.Secret != nil:
		data, err := v.node.values(source{"Secret", object.Namespace, from.Secret.Name}, from.Secret.Optional)
		return pick(data, from.Secret.Items, from.Secret.Optional, err)
	case from.DownwardAPI != nil:
		all := files{}
		for _, item := range from.DownwardAPI.Items {
			if item.FieldRef == nil {
				return nil, fmt.Errorf("file %s: this node knows fieldRef only", item.Path)
			}
			value, err := v.node.field(object, item.FieldRef.FieldPath, v.addr)
			if err != nil {
				return nil, fmt.Errorf("file %s: %w", item.Path, err)
			}
			all[item.Path] = []byte(value)
		}
		return all, nil
	case from.ServiceAccountToken != nil:
		t, err := v.token(ctx, object, from.ServiceAccountToken)
		return files{from.ServiceAccountToken.Path: []byte(t)}, err
	default:
		return nil, errors.New("this node projects configMap, secret, downwardAPI and serviceAccountToken only")
	}
}

// pick takes the items, or everything if there are none.
func pick(data map[string][]byte, items []corev1.KeyToPath, optional *bool, err error) (files, error) {
	if err != nil || len(items) == 0 {
		return data, err
	}
	picked := files{}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return nil, fmt.Errorf("there is no key %q", item.Key)
		}
		picked[item.Path] = value
	}
	return picked, nil
}

// token asks for a token of the pod's service account, or returns the one that is
// still good.
func (v *volumes) token(ctx context.Context, object *corev1.Pod, want *corev1.ServiceAccountTokenProjection) (string, error) {
	if t, ok := v.tokens[want.Audience]; ok && time.Now().Before(t.renew) {
		return t.value, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: want.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: object.Name, UID: object.UID},
	}}
	if want.Audience != "" {
		request.Spec.Audiences = []string{want.Audience}
	}
	got, err := v.node.client.CoreV1().ServiceAccounts(object.Namespace).CreateToken(ctx, object.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking for a token: %w", err)
	}
	now := time.Now()
	// As kubelet does: renewed when a fifth of its life is left.
	v.tokens[want.Audience] = token{got.Status.Token, now.Add(got.Status.ExpirationTimestamp.Sub(now) * 4 / 5)}
	return got.Status.Token, nil
}

const current = "..data" // the link that is switched

// replace makes the files of a folder the given ones, all at once: they lie in a
// hidden folder that one link points at, and each name is a link through it.
// Whoever watches "..data" is told, as with a kubelet.
func replace(dir string, content files) error {
	if same(dir, content) {
		return nil
	}
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	for name, data := range content {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("file %q leads out of its volume", name)
		}
		file := filepath.Join(fresh, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return err
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, current)) // empty the first time
	if err := switchLink(dir, filepath.Base(fresh)); err != nil {
		return err
	}
	if err := links(dir, content); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// switchLink points the link at a folder; there is no moment without it.
func switchLink(dir, to string) error {
	next := filepath.Join(dir, current+"_tmp")
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(to, next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, current))
}

// links makes the names that a container sees.
func links(dir string, content files) error {
	tops := map[string]bool{}
	for name := range content {
		top := path.Clean(name)
		for path.Dir(top) != "." {
			top = path.Dir(top)
		}
		tops[top] = true
		err := os.Symlink(path.Join(current, top), filepath.Join(dir, top))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !tops[name] && (len(name) < 2 || name[:2] != "..") {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// same reports whether the folder holds exactly this already.
func same(dir string, content files) bool {
	if _, err := os.Lstat(filepath.Join(dir, current)); err != nil {
		return false
	}
	found := 0
	err := filepath.WalkDir(filepath.Join(dir, current)+"/", func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found++
		}
		return err
	})
	if err != nil || found != len(content) {
		return false
	}
	for name, data := range content {
		if was, err := os.ReadFile(filepath.Join(dir, current, name)); err != nil || string(was) != string(data) {
			return false
		}
	}
	return true
}
