#!/usr/bin/env bash
# Installs the host with an API of its own, then daemons and gateways of the other
# regions under its authority.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl "$MERIDIAN"

read -ra more <<<"$INIT_FLAGS"
flags=(--set "meridiand.image.repository=$IMAGE_REGISTRY/meridiand" --set "meridiand.image.tag=$IMAGE_TAG"
  --set "cli.image.repository=$IMAGE_REGISTRY/meridian" --set "cli.image.tag=$IMAGE_TAG" --set meridiand.peersService.enabled=true "${more[@]}")

say "host $HOST, with a dedicated API: the context \"meridian\""
"$MERIDIAN" init --context "$(context "$HOST")" --region "${REGION[$HOST]}" --network "$HOST" --dedicated-api "${flags[@]}"

peer=$(address "$HOST" meridiand-public)
others=()
for m in $MEMBERS; do
  [[ "$m" != "$HOST" ]] || continue
  say "region ${REGION[$m]}"
  "$MERIDIAN" init --context "$(context "$m")" --region "${REGION[$m]}" --network "$m" "${flags[@]}" \
    --share-with "$(context "$HOST")" --peer "$peer:17443"
  others+=(--peer "$(address "$m" meridiand-public):17443")
done

say "host $HOST follows the others, and serves $DOMAIN; for the rest it stays as it is"
"$MERIDIAN" init --context "$(context "$HOST")" "${others[@]}" \
  --domain "$DOMAIN" --nameserver "ns1.$DOMAIN=$(address "$HOST" meridian-dns)"
