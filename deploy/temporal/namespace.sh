#!/bin/sh
# Create the namespace and the search attributes of holds, once the server answers. May be repeated. Needs the
# `temporal` command; reads TEMPORAL_ADDRESS, TEMPORAL_TLS_… as the command does, TEMPORAL_NAMESPACE and
# TEMPORAL_RETENTION (how long ended holds can be looked at in Temporal; the database keeps its rows).
set -eu

namespace="${TEMPORAL_NAMESPACE:-default}"
seconds=120

within() { # the complaint, and the command to repeat until it works or the time is over
    complaint="$1"
    shift
    until said=$("$@" 2>&1); do
        seconds=$((seconds - 1))
        if [ "$seconds" -lt 0 ]; then
            echo "namespace.sh: $complaint: $said" >&2
            exit 1
        fi
        sleep 1
    done
}

attribute() { # one at a time: of several names in one call the command makes only the first
    within "the search attribute $1 cannot be made" \
        temporal operator search-attribute create -n "$namespace" --name "$1" --type "$2"
}

within "Temporal does not answer" temporal operator cluster health
temporal operator namespace describe -n "$namespace" >/dev/null 2>&1 ||
    temporal operator namespace create -n "$namespace" --retention "${TEMPORAL_RETENTION:-7d}"
attribute ShopId Keyword
attribute HoldStatus Keyword
attribute HoldReference Keyword
attribute HoldExpiresAt Datetime
# Until the servers have heard of them, some seconds, no hold can be made.
within "the search attributes are not there" temporal workflow count -n "$namespace" --query \
    "ShopId='' AND HoldStatus='' AND HoldReference='' AND HoldExpiresAt>'2026-01-01T00:00:00Z'"
