{{- define "holdfast.name" -}}
{{- $name := .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- if contains "holdfast" $name }}{{ $name }}{{ else }}{{ printf "%s-holdfast" $name }}{{ end -}}
{{- end -}}

{{/* Labels that select the pods of a component: (list root component). They never change. */}}
{{- define "holdfast.selector" -}}
app.kubernetes.io/name: holdfast
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "holdfast.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* A value as an environment has it: YAML's large numbers would otherwise be written as 1e+06. */}}
{{- define "holdfast.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The secrets of a component, as YAML: setting, key in the Secret. */}}
{{- define "holdfast.secrets" -}}
{{- $values := (index . 0).Values -}}
{{- $component := index . 1 -}}
{{- $apiOnly := list "STRIPE_APPROVAL_SECRET" "INVENTORY_AUTHORITY_TOKEN" "INVENTORY_ADMIN_TOKEN" "HOLDFAST_BROWSER_TOKEN_SECRET" "STRIPE_WEBHOOK_SECRET" -}}
{{- range $setting, $key := $values.secrets.keys }}
{{- if eq $component "migrate" }}
{{- if eq $setting "DATABASE_URL" }}
{{ $setting }}: {{ $values.secrets.migrateDatabaseUrl | default $key | quote }}
{{- end }}
{{- else if eq $component "periodic-smoke" }}
{{- if has $setting (list "INVENTORY_AUTHORITY_TOKEN" "INVENTORY_ADMIN_TOKEN" "STRIPE_WEBHOOK_SECRET") }}
{{ $setting }}: {{ $key | quote }}
{{- end }}
{{- else if or (eq $component "api") (not (has $setting $apiOnly)) }}
{{ $setting }}: {{ $key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The environment of a component: (list root component). */}}
{{- define "holdfast.env" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $settings := deepCopy $root.Values.settings -}}
{{- if not $settings.INVENTORY_AUTHORITY_URL }}
{{- $_ := set $settings "INVENTORY_AUTHORITY_URL" (printf "http://%s-api:%v" (include "holdfast.name" $root) $root.Values.api.service.port) }}
{{- end }}
{{- if $root.Values.worker.controller.enabled }}
{{- if or $settings.HOLDFAST_WORKER_BUILD_ID $settings.HOLDFAST_WORKER_DEPLOYMENT }}
{{- fail "settings: remove HOLDFAST_WORKER_BUILD_ID and HOLDFAST_WORKER_DEPLOYMENT; with worker.controller.enabled the worker controller gives them" }}
{{- end }}
{{- $_ := set $settings "HOLDFAST_API_RUNS_HOLDS" "0" }}
{{- $_ := set $settings "HOLDFAST_WORKER_DEPLOYMENT" (printf "%s/%s-worker" $root.Release.Namespace (include "holdfast.name" $root)) }}
{{- end }}
{{- if and $root.Values.worker.controller.enabled (eq $component "worker") }}{{/* set by the worker controller */}}
{{- $_ := unset $settings "TEMPORAL_ADDRESS" }}
{{- $_ := unset $settings "TEMPORAL_NAMESPACE" }}
{{- end }}
{{- if eq $component "migrate" }}
{{- if and $settings.INVENTORY_DATABASE_POOLER (ne (include "holdfast.value" $settings.INVENTORY_DATABASE_POOLER) "0") (not $root.Values.secrets.migrateDatabaseUrl) }}
{{- fail "secrets.migrateDatabaseUrl: with INVENTORY_DATABASE_POOLER the migration needs a DATABASE_URL of its own, which leads to Postgres itself" }}
{{- end }}
{{- $_ := unset $settings "INVENTORY_DATABASE_POOLER" }}
{{- end }}
{{- range $name, $value := $settings }}
{{- if not (has (toString $value) (list "" "<nil>")) }}
- {name: {{ $name }}, value: {{ include "holdfast.value" $value | quote }}}
{{- end }}
{{- end }}
{{- range $name, $_ := include "holdfast.secrets" . | fromYaml }}
- {name: {{ $name }}_FILE, value: /run/secrets/holdfast/{{ $name }}}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every container has: image, environment, mounts, and no rights. */}}
{{- define "holdfast.container" -}}
image: {{ include "holdfast.image" (index . 0) }}
imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
env:
  {{- include "holdfast.env" . | trim | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: secrets, mountPath: /run/secrets/holdfast, readOnly: true}
  {{- if (index . 0).Values.certificates.secret }}
  - {name: certificates, mountPath: /etc/holdfast/certificates, readOnly: true}
  {{- end }}
{{- end -}}

{{/* What every pod has. HOLDFAST_API_PORT is also what a service link would be named: none is set. */}}
{{- define "holdfast.pod" -}}
{{- $values := (index . 0).Values -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with $values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 128Mi}
  - name: secrets
    secret:
      secretName: {{ $values.secrets.name }}
      defaultMode: 0440
      items:
        {{- range $name, $key := include "holdfast.secrets" . | fromYaml }}
        - {key: {{ $key | quote }}, path: {{ $name }}}
        {{- end }}
  {{- with $values.certificates.secret }}
  - name: certificates
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
{{- end -}}

{{/* Where the pods of a component run: (list root component values). */}}
{{- define "holdfast.placement" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "holdfast.selector" $ | nindent 8 }}
  {{- end }}
{{- with index . 2 }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $ 2 $field }}
{{ $field }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fails where a pod would be killed before it has finished what it began: (list root component values delay). */}}
{{- define "holdfast.grace" -}}
{{- $least := add (index . 3) 25 }}{{/* 20 s to finish, 5 s for the processes to end */}}
{{- with (index . 2).terminationGracePeriodSeconds }}
{{- if lt (int .) (int $least) }}
{{- fail (printf "%s.terminationGracePeriodSeconds: %d is shorter than a stop, which takes %d s" (index $ 1) (int .) (int $least)) }}
{{- end }}
{{- int . }}
{{- end }}
{{- end -}}

{{- define "holdfast.metadata" -}}
name: {{ include "holdfast.name" (index . 0) }}-{{ index . 1 }}
labels: {{ include "holdfast.labels" . | nindent 2 }}
{{- end -}}

{{/* The metadata of a component's pods: (list root component values). */}}
{{- define "holdfast.podMetadata" -}}
labels:
  {{- include "holdfast.labels" . | nindent 2 }}
  {{- with (index . 2).podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with (index . 2).podAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
