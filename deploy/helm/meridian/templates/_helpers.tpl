{{/* The labels of every object. */}}
{{- define "meridian.labels" -}}
app.kubernetes.io/part-of: meridian
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The labels that pods of one kind are selected by; "name" says which. */}}
{{- define "meridian.selector" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: meridian
{{- end }}

{{- define "meridian.region" -}}
{{- required "region is required: helm install --set region=europe-west1 …" .Values.region -}}
{{- end }}

{{- define "meridian.instancePrefix" -}}
{{- .Values.meridiand.instancePrefix | default (include "meridian.region" .) -}}
{{- end }}

{{/* An image, by its tag or else the chart's version. */}}
{{- define "meridian.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end }}

{{/* A file that an Envoy starts with. Package xds/bootstrap writes it with words that
stand for what only the values know; nothing else is changed. Words are quoted: a region
"no" is no truth value, and a network "1234" no number. */}}
{{- define "meridian.envoyFile" -}}
{{- .root.Files.Get (printf "files/envoy/%s" .name)
    | replace "region.placeholder" (include "meridian.region" .root | quote)
    | replace "network.placeholder" (.root.Values.network | quote)
    | replace "domain.placeholder" .root.Values.trustDomain
    | replace "xds.placeholder" (.root.Values.gateway.xds | default (printf "meridiand.%s.svc" .root.Release.Namespace) | quote) -}}
{{- end }}

{{- define "meridian.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "meridian.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Pods of one kind stand on different nodes if they can, and in different zones. */}}
{{- define "meridian.spread" -}}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "meridian.selector" . | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "meridian.selector" . | nindent 6 }}
{{- end }}
