#!/usr/bin/env bash
# Creates one Ingress, once, for all clusters.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl "$MERIDIAN"

ingress() {
  cat <<YAML
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: whereami, namespace: default, labels: {app: whereami}}
spec:
  ingressClassName: meridian
  rules:
  - host: www.$DOMAIN
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
YAML
}

say "ingress www.$DOMAIN"
ingress | one create -f - || ingress | one apply -f - # when this is run again

say "its address: every region has one, and DNS gives each client the nearest"
one wait ingress/whereami --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout=120s
one get replicasets,deployments,daemonsets,services,ingresses,clusters

for c in "$(context "$HOST")" meridian; do
  say "meridian check --context $c"
  "$MERIDIAN" check --context "$c" || true
done
