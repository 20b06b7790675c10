package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/meridian-lb/meridian/deploy"
)

// Render renders the chart as helm does, without asking any cluster, and returns
// its objects in the order in which they are applied.
func Render(namespace string, values map[string]any) ([]*unstructured.Unstructured, error) {
	objects, err := render(namespace, values)
	if err != nil {
		return nil, fmt.Errorf("rendering the chart: %w", err)
	}
	return objects, nil
}

func render(namespace string, values map[string]any) ([]*unstructured.Unstructured, error) {
	files, err := chartFiles()
	if err != nil {
		return nil, err
	}
	chart, err := loader.LoadFiles(files)
	if err != nil {
		return nil, err
	}
	all, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: "meridian", Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	if release, ok := all["Release"].(map[string]any); ok {
		release["Service"] = manager
	}
	rendered, err := engine.Render(chart, all)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if !strings.HasSuffix(name, ".yaml") {
			continue // notes and helpers
		}
		found, err := decode([]byte(rendered[name]))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		objects = append(objects, found...)
	}
	sortObjects(objects)
	return objects, nil
}

func chartFiles() ([]*archive.BufferedFile, error) {
	var files []*archive.BufferedFile
	chart := deploy.Chart()
	err := fs.WalkDir(chart, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(chart, name)
		files = append(files, &archive.BufferedFile{Name: name, Data: data})
		return err
	})
	return files, err
}

// decode reads a stream of YAML documents; empty ones are nothing.
func decode(stream []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096); ; {
		var raw runtime.RawExtension
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(raw.Raw)) == 0 {
			continue
		}
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw.Raw, &o.Object); err != nil { // keeps whole numbers whole
			return nil, err
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
