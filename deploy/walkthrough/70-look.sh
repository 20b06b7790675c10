#!/usr/bin/env bash
# Asks every region's gateway and the name server who answers, and from where.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl curl dig

kubectl --context "$(context "$HOST")" get clusters.meridian.dev
for m in $MEMBERS; do
  say "through the gateway of $m"
  curl --fail --silent --show-error --max-time 10 --resolve "www.$DOMAIN:80:$(address "$m" meridian-gateway)" "http://www.$DOMAIN/"
done

ns=$(address "$HOST" meridian-dns)
# Networks of universities that have been where they are for decades.
for client in 130.225.0.0/16=Denmark 18.0.0.0/11=Boston 133.11.0.0/16=Tokyo; do
  say "a resolver in ${client#*=} is told"
  dig +short "@$ns" "www.$DOMAIN" "+subnet=${client%=*}"
done

cat >&2 <<TEXT

Now break something and look again:
  kubectl --context $(context "$HOST") scale deployment/whereami --replicas 0
TEXT
