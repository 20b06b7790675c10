//go:build e2e

package workloads

import (
	"fmt"
	"strings"
)

// waiters are pods that cost little: a process that sleeps.
func waiters(name string, extra string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      automountServiceAccountToken: false
      %[2]s
      containers:
      - {name: waiter, image: waiter, command: [sleep, "1000000"]}
`, name, extra)
}

const wide = "nodeSelector: {pool: wide}"

const everyNode = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      automountServiceAccountToken: false
      containers:
      - {name: waiter, image: waiter, command: [sleep, "1000000"]}
`

const whereami = `apiVersion: apps/v1
kind: Deployment
metadata: {name: whereami}
spec:
  selector: {matchLabels: {app: whereami}}
  template:
    metadata: {labels: {app: whereami}}
    spec:
      automountServiceAccountToken: false
      nodeSelector: {pool: wide}
      containers:
      - name: whereami
        image: whereami
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
`

const settings = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"edit": "0"}}`

// definition is a kind of one's own.
const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// refusal is a cluster that will not have a ReplicaSet of this name.
const refusal = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-choosy}
spec:
  failurePolicy: Fail
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [replicasets]}]}
  validations: [{expression: "object.metadata.name != 'choosy'", message: "we do not want the choosy here"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-choosy}
spec: {policyName: no-choosy, validationActions: [Deny]}
`

// wrapped is a FederatedObject as somebody writes it who does without "meridian federate".
func wrapped(namespace, name, template, more string) string {
	return fmt.Sprintf("apiVersion: meridian.dev/v1alpha1\nkind: FederatedObject\nmetadata: {namespace: %s, name: %s}\nspec:\n  template: %s\n%s",
		namespace, name, template, more)
}

// large is a ConfigMap of 1.4 MB.
func large() string {
	return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"text": "` + strings.Repeat("0123456789abcdef", 1_400_000/16) + `"}}`
}
