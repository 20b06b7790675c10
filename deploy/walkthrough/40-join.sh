#!/usr/bin/env bash
# Makes every cluster a member that takes workloads, the host too.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl "$MERIDIAN"

for m in $MEMBERS; do
  say "$m joins"
  flags=()
  # Inside of kind's network a cluster is reached by the name of its container.
  [[ "$PLATFORM" != kind ]] || flags+=(--api-server "https://meridian-$m-control-plane:6443")
  "$MERIDIAN" join "$m" --context "$(context "$m")" --host-context meridian --workloads \
    --gateway "$(address "$m" meridian-gateway)" "${flags[@]}"
done

say "all clusters are reached, and their gateways are up"
for m in $MEMBERS; do
  one wait "cluster.meridian.dev/$m" --for=condition=Reachable --timeout=180s
  one wait "cluster.meridian.dev/$m" --for=jsonpath='{.status.health}'=Healthy --timeout=300s
done
one get clusters
