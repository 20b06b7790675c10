// Package deploy holds the files that an installation is made of, so that programs carry them along.
package deploy

import (
	"embed"
	"io/fs"
)

//go:generate sh -c "cp crds/*.yaml helm/meridian/files/crds/"
//go:generate go run ./render

//go:embed all:helm/meridian
var files embed.FS

// Chart is the Helm chart's folder. It is the one source of what runs in a
// cluster: "meridian init" and the plain manifests are rendered from it.
func Chart() fs.FS {
	chart, err := fs.Sub(files, "helm/meridian")
	if err != nil { // only for a name that is no path
		panic(err)
	}
	return chart
}
