{{- define "fleet.pod" -}}
metadata:
  labels:
    {{- include "fleet.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- if .Values.rollOnConfigChange }}
    checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
    checksum/secret: {{ .Values.secret.files | toJson | sha256sum }}
    {{- end }}
    kubectl.kubernetes.io/default-container: supervisor
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "fleet.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "fleet.grace" . }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ .Values.securityContext.runAsUser }}
    runAsGroup: {{ .Values.securityContext.runAsGroup }}
    fsGroup: {{ .Values.securityContext.runAsGroup }}
    seccompProfile: {type: RuntimeDefault}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  tolerations:
    - key: node.kubernetes.io/not-ready
      operator: Exists
      effect: NoExecute
      tolerationSeconds: {{ .Values.unreachableSeconds }}
    - key: node.kubernetes.io/unreachable
      operator: Exists
      effect: NoExecute
      tolerationSeconds: {{ .Values.unreachableSeconds }}
    {{- with .Values.tolerations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ .topologyKey }}
      whenUnsatisfiable: {{ .whenUnsatisfiable }}
      maxSkew: 1
      labelSelector:
        matchLabels: {{- include "fleet.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: supervisor
      {{- include "fleet.container" . | nindent 6 }}
  volumes:
    - name: config
      configMap:
        name: {{ include "fleet.name" . }}
    # The control socket's folder is made in here: nobody else may write to it.
    - name: run
      emptyDir: {sizeLimit: 1Mi}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if or .Values.secret.files .Values.secret.existing }}
    - name: secrets
      secret:
        secretName: {{ include "fleet.secret" . }}
        defaultMode: 0440
    {{- end }}
{{- end -}}

{{- define "fleet.container" -}}
image: {{ include "fleet.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: {{- toYaml .Values.command | nindent 2 }}
args: [run, /etc/flowodm/fleet.toml]
env:
  - name: POD_NAME
    valueFrom:
      fieldRef: {fieldPath: metadata.name}
  # For flowodm-supervisor status, reload and so on, run in the container.
  - name: FLOWODM_CONTROL_SOCKET
    value: /run/flowodm/control/control.sock
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: http, containerPort: 9108, protocol: TCP}
# The next two are asked only when this one has been answered once.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 5
  failureThreshold: {{ divf .Values.startup.seconds 5 | ceil | int }}
# The main loop turns. Not /readyz: while the brokers are away no restart would help.
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
# Every worker is assigned: the next pod of an update waits for it.
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  # Whole folders: a file mounted by subPath would never change.
  - {name: config, mountPath: /etc/flowodm, readOnly: true}
  - {name: run, mountPath: /run/flowodm}
  - {name: tmp, mountPath: /tmp}
  {{- if or .Values.secret.files .Values.secret.existing }}
  - {name: secrets, mountPath: /run/secrets/flowodm, readOnly: true}
  {{- end }}
{{- end -}}
