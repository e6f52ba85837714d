#!/bin/sh
# Waits for the Temporal server, then creates the namespace and the search attributes of holds. Safe to repeat. Needs the
# `temporal` command and its variables (TEMPORAL_ADDRESS, TEMPORAL_TLS_…); also reads TEMPORAL_NAMESPACE and
# TEMPORAL_RETENTION (how long Temporal keeps ended workflows; the rows in Postgres are not affected).
set -eu

namespace="${TEMPORAL_NAMESPACE:-default}"
seconds=120

retry() { # error message, command: repeats the command until it succeeds or the time is over
    message="$1"
    shift
    until output=$("$@" 2>&1); do
        seconds=$((seconds - 1))
        if [ "$seconds" -lt 0 ]; then
            echo "namespace.sh: $message: $output" >&2
            exit 1
        fi
        sleep 1
    done
}

attribute() { # name, type: one per call, because of several names the command creates only the first
    retry "cannot create the search attribute $1" \
        temporal operator search-attribute create -n "$namespace" --name "$1" --type "$2"
}

retry "cannot reach Temporal" temporal operator cluster health
temporal operator namespace describe -n "$namespace" >/dev/null 2>&1 ||
    temporal operator namespace create -n "$namespace" --retention "${TEMPORAL_RETENTION:-7d}"
attribute ShopId Keyword
attribute HoldStatus Keyword
attribute HoldReference Keyword
attribute HoldExpiresAt Datetime
attribute Sku KeywordList
# The servers take some seconds to load new search attributes, and holds cannot be created before that.
retry "the search attributes are not available" temporal workflow count -n "$namespace" --query \
    "ShopId='' AND HoldStatus='' AND HoldReference='' AND Sku='' AND HoldExpiresAt>'2026-01-01T00:00:00Z'"
