#!/bin/sh
# Creates the roles of Holdfast and Temporal and Holdfast's database. Runs once, when Postgres starts with an empty data
# directory. Temporal's two databases are created by deploy/temporal/schema.sh.
set -eu
secrets="${SECRETS:-/run/secrets}"

psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres \
    --set holdfast="$(cat "$secrets/holdfast_password")" \
    --set temporal="$(cat "$secrets/temporal_password")" <<'SQL'
CREATE ROLE holdfast LOGIN PASSWORD :'holdfast';
CREATE DATABASE holdfast OWNER holdfast;
REVOKE CONNECT ON DATABASE holdfast FROM PUBLIC;
CREATE ROLE temporal LOGIN CREATEDB PASSWORD :'temporal';
SQL
