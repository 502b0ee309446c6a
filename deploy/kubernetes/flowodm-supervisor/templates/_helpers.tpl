{{- define "fleet.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "fleet.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fleet.labels" -}}
{{ include "fleet.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "fleet.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository: the image with your handlers" $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ required "image.tag or image.digest: latest is no version" $image.tag }}
{{- end -}}
{{- end -}}

{{- define "fleet.secret" -}}
{{- .Values.secret.existing | default (printf "%s-secrets" (include "fleet.name" .)) -}}
{{- end -}}

{{/* drain_timeout, kill_delay, 10 s for the kernel as in what check says, and 15 s of margin. */}}
{{- define "fleet.grace" -}}
{{- $table := .Values.supervisor -}}
{{- $needed := add $table.drainTimeoutSeconds $table.killDelaySeconds 25 -}}
{{- .Values.terminationGracePeriodSeconds | default $needed | int -}}
{{- end -}}

{{/* What values.schema.json allows and would render, but not run as it is meant to. */}}
{{- define "fleet.verify" -}}
{{- $config := required "config: the TOML file, --set-file config=fleet.toml" .Values.config -}}
{{- $dynamic := regexMatch "(?m)^\\s*membership\\s*=\\s*[\"']dynamic[\"']" $config -}}
{{- if regexMatch "(?m)^\\s*\\[\\s*supervisor\\s*\\]" $config -}}
{{- fail "config: the chart writes [supervisor]; take it out and set the values of supervisor" -}}
{{- end -}}
{{- if and (eq .Values.kind "Deployment") (not $dynamic) -}}
{{- fail "kind: a Deployment's pods have new names each time, and a static member that does not come back keeps its partitions until its session ends; set membership = \"dynamic\" in [defaults] of config" -}}
{{- end -}}
{{- if and .Values.keda.enabled (not $dynamic) -}}
{{- fail "keda: a static member that is scaled away keeps its partitions until its session ends; set membership = \"dynamic\" in [defaults] of config" -}}
{{- end -}}
{{- if and .Values.keda.enabled (not .Values.keda.triggers) -}}
{{- fail "keda.triggers: a topic at least" -}}
{{- end -}}
{{- if and .Values.secret.existing .Values.secret.files -}}
{{- fail "secret: files or existing, not both" -}}
{{- end -}}
{{- end -}}
