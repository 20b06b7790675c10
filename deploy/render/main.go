// Command render writes the plain manifests anew from the Helm chart.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/meridian-lb/meridian/install"
)

const head = `# One region of Meridian, rendered from the chart in deploy/helm/meridian with
# nothing set but the region; write your own in place of "europe-west1" and "eu-1".
# The Secrets that it names are made by "meridian init", or by hand with "meridian
# certs". Rendered anew by make generate; change the chart, not this file.
`

func main() {
	if err := run("manifests/meridian.yaml"); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	objects, err := install.Render(install.Namespace, map[string]any{"region": "europe-west1", "network": "eu-1", "createNamespace": true})
	if err != nil {
		return err
	}
	b := bytes.NewBufferString(head)
	if err := install.WriteYAML(b, []install.Part{{Where: "host cluster", Objects: objects}}); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
