#!/usr/bin/env bash
# Puts the clusters into your kubeconfig, as meridian-eu, meridian-us, meridian-asia.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl

for m in $MEMBERS; do
  say "context $(context "$m")"
  case "$PLATFORM" in
  yours) continue ;;
  kind)
    need kind
    kind export kubeconfig --name "meridian-$m"
    made="kind-meridian-$m"
    # kind's nodes say nothing of where they stand: play that they do.
    kubectl --context "$made" label --overwrite node --all \
      "topology.kubernetes.io/region=${REGION[$m]}" "topology.kubernetes.io/zone=${REGION[$m]}-b"
    ;;
  gcloud)
    need gcloud
    gcloud container clusters get-credentials "meridian-$m" --project "$PROJECT" --region "${REGION[$m]}"
    made="gke_${PROJECT}_${REGION[$m]}_meridian-$m"
    ;;
  esac
  kubectl config delete-context "$(context "$m")" >/dev/null 2>&1 || true
  kubectl config rename-context "$made" "$(context "$m")"
done
