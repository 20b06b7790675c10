#!/usr/bin/env bash
# Asks every region's gateway and the name server who answers, and from where, and a
# daemon why the replicas are where they are.
# shellcheck source-path=SCRIPTDIR source=00-settings.sh
source "$(dirname "$0")/00-settings.sh"
need kubectl curl dig "$MERIDIAN"

one get clusters
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

say "why the replicas are where they are"
papers=$(mktemp -d)
kubectl --context "$(context "$HOST")" -n meridian-system port-forward service/meridiand-admin 19443:9443 >/dev/null &
forward=$!
trap 'kill "$forward"; rm -rf "$papers"' EXIT
for file in tls.crt tls.key ca.crt; do
  kubectl --context "$(context "$HOST")" -n meridian-system get secret meridian-operator-identity \
    -o jsonpath="{.data.${file/./\\.}}" | base64 -d >"$papers/$file"
done
for _ in {1..20}; do
  ! "$MERIDIAN" spread replicaset-whereami --server 127.0.0.1:19443 --identity "$papers" || break
  sleep 1
done

cat >&2 <<TEXT

Now change or break something and look again:
  kubectl --context=meridian scale replicaset/whereami --replicas 30
  $MERIDIAN drain $HOST --server … --identity …   # as above
  kubectl --context $(context "$HOST") -n meridian-system delete pod meridian-api-0
TEXT
