//go:build e2e

package walkthrough

// What one writes to the dedicated API, as to any cluster.
const everyKindOfThem = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {of: promise}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, containers: [{name: sleep, image: sleep, command: [sleep, "1000000"]}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, labels: {of: promise}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 6
  maxReplicas: 12
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, labels: {of: promise}}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, containers: [{name: sleep, image: sleep, command: [sleep, "1000000"]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store, labels: {of: promise}}
spec:
  replicas: 2
  serviceName: store
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec: {automountServiceAccountToken: false, terminationGracePeriodSeconds: 1, containers: [{name: sleep, image: sleep, command: [sleep, "1000000"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, labels: {of: promise}}
spec:
  parallelism: 6
  completions: 6
  template:
    spec: {automountServiceAccountToken: false, restartPolicy: Never, containers: [{name: sleep, image: sleep, command: [sleep, "0.2"]}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, labels: {of: promise}}
spec:
  schedule: "17 3 30 2 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: sleep, image: sleep, command: [sleep, "0.2"]}]}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {of: promise}}
data: {colour: blue}
`
