#!/usr/bin/env bash
# Runs whereami, which says where it runs, in every cluster.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl

for m in $MEMBERS; do
  say "whereami in $m"
  sed -e "s|image: IMAGE|image: $IMAGE_REGISTRY/whereami:$IMAGE_TAG|" -e "s|REGION_NAME|${REGION[$m]}|" -e "s|CLUSTER_NAME|$m|" "$(dirname "$0")/whereami.yaml" |
    kubectl --context "$(context "$m")" apply -f -
  kubectl --context "$(context "$m")" rollout status deployment/whereami --timeout 180s
done
