#!/usr/bin/env bash
# Makes one cluster per region.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"

case "$PLATFORM" in
kind)
  need kind kubectl
  for m in $MEMBERS; do
    say "cluster $m"
    kind get clusters | grep -qx "meridian-$m" || kind create cluster --name "meridian-$m" --wait 120s
  done
  echo "kind gives LoadBalancer Services no address by itself: start cloud-provider-kind beside it" >&2
  ;;
yours)
  need kubectl
  for m in $MEMBERS; do kubectl --context "$(context "$m")" get --raw /readyz >/dev/null; done
  ;;
gcloud)
  need gcloud
  for m in $MEMBERS; do
    say "cluster $m in ${REGION[$m]}"
    gcloud container clusters describe "meridian-$m" --project "$PROJECT" --region "${REGION[$m]}" >/dev/null 2>&1 ||
      gcloud container clusters create "meridian-$m" --project "$PROJECT" --region "${REGION[$m]}" \
        --machine-type "$MACHINE" --num-nodes "$NODES" --enable-ip-alias --enable-dataplane-v2
  done
  ;;
esac
