#!/usr/bin/env bash
# What the other scripts share. Change it here, or set the variables before.
set -euo pipefail

# kind: clusters in containers on this machine; gcloud: GKE in three regions; yours:
# clusters that you have, as contexts meridian-eu and so on, which stay.
export PLATFORM="${PLATFORM:-kind}"

# One cluster per region; the first hosts the installation.
export MEMBERS="${MEMBERS:-eu us asia}"
# shellcheck disable=SC2034 # the other scripts read it
declare -gA REGION=([eu]=europe-west1 [us]=us-east1 [asia]=asia-east1)
HOST="${MEMBERS%% *}"
export HOST

export DOMAIN="${DOMAIN:-whereami.example.com}"    # a zone that you can delegate
export PROJECT="${PROJECT:-}"                      # gcloud: the project that pays
export MACHINE="${MACHINE:-e2-standard-2}"         # gcloud: nodes
export NODES="${NODES:-1}"                         # gcloud: per zone
export IMAGE_REGISTRY="${IMAGE_REGISTRY:-ghcr.io/meridian-lb}" # where meridiand, meridian and whereami lie
export IMAGE_TAG="${IMAGE_TAG:-0.1.0}"
export MERIDIAN="${MERIDIAN:-meridian}"            # the command line, as "make build" makes it
export INIT_FLAGS="${INIT_FLAGS:-}"                # more of "meridian init", everywhere: --replicas 1 on small machines
export REPLICAS="${REPLICAS:-9}"                   # of whereami, over all clusters
export CONTEXTS="${CONTEXTS-meridian-}"            # what the names of members' contexts begin with

# The context of a member, by the same name on all platforms.
context() { echo "$CONTEXTS$1"; }

# All clusters as one: the dedicated API, by the context that "meridian init" makes.
one() { kubectl --context=meridian "$@"; }

say() { printf '\n== %s\n' "$*" >&2; }

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed and not here; install it or put it on PATH" >&2; exit 1; }
  done
}

case "$PLATFORM" in
kind | yours) ;;
gcloud) [[ -n "$PROJECT" ]] || { echo "PROJECT is empty; name the project that pays: export PROJECT=…" >&2; exit 1; } ;;
*) echo "PLATFORM=$PLATFORM: write kind, gcloud or yours" >&2; exit 1 ;;
esac

# The address of a LoadBalancer Service, when it has one.
address() { # member, service
  local got deadline=$((SECONDS + 300))
  while ((SECONDS < deadline)); do
    got=$(kubectl --context "$(context "$1")" -n meridian-system get service "$2" -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
    [[ -z "$got" ]] || { echo "$got"; return; }
    echo "  … $1 has no address for $2 yet" >&2
    sleep 2
  done
  echo "Service $2 of $1 got no address in 5 minutes: kubectl --context $(context "$1") -n meridian-system describe service $2" >&2
  return 1
}
