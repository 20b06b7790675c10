#!/usr/bin/env bash
# Creates a ReplicaSet and a Service of whereami, which says where it runs, as in one
# cluster: each member runs its share.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl

# What differs between clusters is said beside the objects, and before them. Without a
# Placement all clusters get the same.
objects() {
  cat <<YAML
apiVersion: meridian.dev/v1alpha1
kind: Placement
metadata: {name: whereami, namespace: default, labels: {app: whereami}}
spec:
  objects:
  - {apiVersion: apps/v1, kind: ReplicaSet, name: whereami}
  overrides:
YAML
  local m
  for m in $MEMBERS; do
    echo "  - {where: {clusters: [$m]}, env: [{name: CLUSTER, value: $m}, {name: REGION, value: ${REGION[$m]}}]}"
  done
  echo ---
  sed -e "s|image: IMAGE|image: $IMAGE_REGISTRY/whereami:$IMAGE_TAG|" -e "s|replicas: REPLICAS|replicas: $REPLICAS|" "$(dirname "$0")/whereami.yaml"
}

say "a ReplicaSet of $REPLICAS, and a Service"
objects | one create -f - || objects | one apply -f - # when this is run again

say "each cluster runs its share"
one wait replicaset/whereami --for=jsonpath='{.status.readyReplicas}'="$REPLICAS" --timeout=300s
for m in $MEMBERS; do
  kubectl --context "$(context "$m")" get replicaset whereami
done
one get replicasets,federatedobjects -o wide
