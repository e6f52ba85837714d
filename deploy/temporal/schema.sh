#!/bin/sh
# Creates Temporal's two databases in Postgres, or upgrades their schema. Safe to repeat; run it before starting a newer
# server. Reads the same variables as config.yaml. Needs temporal-sql-tool, which contains the schema of its version.
set -eu

export SQL_PLUGIN=postgres12_pgx
export SQL_HOST="${POSTGRES_SEEDS:?}"
export SQL_PORT="${DB_PORT:-5432}"
export SQL_USER="${POSTGRES_USER:?}"
export SQL_PASSWORD="${POSTGRES_PWD:-}"
if [ "${SQL_TLS_ENABLED:-false}" = true ]; then
    export SQL_TLS=true
    export SQL_TLS_CA_FILE="${SQL_CA:-}"
    export SQL_TLS_CERT_FILE="${SQL_CERT:-}"
    export SQL_TLS_KEY_FILE="${SQL_CERT_KEY:-}"
    export SQL_TLS_SERVER_NAME="${SQL_HOST_NAME:-}"
    [ "${SQL_HOST_VERIFICATION:-true}" = true ] || export SQL_TLS_DISABLE_HOST_VERIFICATION=true
fi

prepare() { # database, schema name
    export SQL_DATABASE="$1"
    temporal-sql-tool create-database
    temporal-sql-tool setup-schema -v 0.0 # no effect on a database that has a schema version
    temporal-sql-tool update-schema --schema-name "postgresql/v12/$2"
}

prepare "${DBNAME:-temporal}" temporal
prepare "${VISIBILITY_DBNAME:-temporal_visibility}" visibility
