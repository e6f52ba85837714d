#!/bin/sh
# The roles and the database of Holdfast and of Temporal, on the first start of an empty Postgres. Temporal's schema job
# makes its own two databases.
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
