#!/usr/bin/env bash
# Writes one Ingress, once, in the host cluster.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl "$MERIDIAN"

say "ingress www.$DOMAIN"
kubectl --context "$(context "$HOST")" apply -f - <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: whereami, namespace: default}
spec:
  ingressClassName: meridian
  rules:
  - host: www.$DOMAIN
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
YAML
"$MERIDIAN" check --context "$(context "$HOST")" || true
