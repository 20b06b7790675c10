#!/usr/bin/env bash
# Takes everything down again: what was created, the members, Meridian with its load
# balancers, which clouds would keep and charge for, then the clusters.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"

if command -v "$MERIDIAN" >/dev/null; then
  say "what was created"
  one delete ingress,service,replicaset,placement -l app=whereami --timeout=120s ||
    echo "not everything could be deleted; members are unjoined all the same" >&2
  for m in $MEMBERS; do
    say "$m leaves"
    "$MERIDIAN" unjoin "$m" --context "$(context "$m")" --host-context meridian --grace "${GRACE:-30s}" --force ||
      echo "$m could not be unjoined; Meridian is removed from it all the same" >&2
  done
  reversed=
  for m in $MEMBERS; do reversed="$m $reversed"; done
  for m in $reversed; do # the host last
    say "uninstalling from $m"
    "$MERIDIAN" uninstall --context "$(context "$m")" --crds --force ||
      echo "Meridian could not be uninstalled from $m" >&2
  done
  for part in context cluster user; do kubectl config "delete-$part" meridian >/dev/null 2>&1 || true; done
fi
[[ "$PLATFORM" != yours ]] || exit 0
for m in $MEMBERS; do
  say "destroying $m"
  case "$PLATFORM" in
  kind) need kind; kind delete cluster --name "meridian-$m" ;;
  gcloud) need gcloud; gcloud container clusters delete "meridian-$m" --project "$PROJECT" --region "${REGION[$m]}" --quiet ;;
  esac
done
