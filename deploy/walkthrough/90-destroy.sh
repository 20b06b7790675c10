#!/usr/bin/env bash
# Takes everything down again: the members leave, Meridian goes with its load balancers,
# which clouds would keep and charge for, then the clusters go.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"

if command -v "$MERIDIAN" >/dev/null; then
  for m in $MEMBERS; do
    "$MERIDIAN" unjoin "$m" --context "$(context "$m")" --host-context "$(context "$HOST")" --grace 30s --force ||
      echo "$m could not be unjoined; it is destroyed all the same" >&2
  done
  for m in $MEMBERS; do
    "$MERIDIAN" uninstall --context "$(context "$m")" --force ||
      echo "Meridian could not be uninstalled from $m; it is destroyed all the same" >&2
  done
fi
for m in $MEMBERS; do
  say "destroying $m"
  case "$PLATFORM" in
  kind) need kind; kind delete cluster --name "meridian-$m" ;;
  gcloud) need gcloud; gcloud container clusters delete "meridian-$m" --project "$PROJECT" --region "${REGION[$m]}" --quiet ;;
  esac
done
