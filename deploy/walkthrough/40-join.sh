#!/usr/bin/env bash
# Makes every cluster a member, the host too.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl "$MERIDIAN"

for m in $MEMBERS; do
  say "$m joins"
  flags=()
  # Inside of kind's network a cluster is reached by the name of its container.
  [[ "$PLATFORM" != kind ]] || flags+=(--api-server "https://meridian-$m-control-plane:6443")
  "$MERIDIAN" join "$m" --context "$(context "$m")" --host-context "$(context "$HOST")" \
    --gateway "$(address "$m" meridian-gateway)" "${flags[@]}"
done
