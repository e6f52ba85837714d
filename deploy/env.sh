#!/bin/sh
# Usage: eval "$(deploy/env.sh)", on the host of docker-compose.yml. Then the commands of the runbooks run there as they
# stand: holdfast, temporal, psql, pg_dump and pg_restore in containers that see the current folder, curl on the host.
# The settings are those of .env; no secret is printed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

setting() { # name, default
    value=$([ ! -r "$root/.env" ] || sed -n "s/^$1=//p" "$root/.env" | tail -n 1 | tr -d "\"'")
    printf '%s' "${value:-$2}"
}

address=$(setting HOLDFAST_API_ADDRESS 127.0.0.1)
[ "$address" != 0.0.0.0 ] || address=127.0.0.1
ports=$(setting HOLDFAST_API_PORTS 8000)
secrets=$(cd "$root" && cd "$(setting SECRETS_FOLDER ./secrets)" && pwd) || {
    echo "deploy/env.sh: run deploy/secrets.sh first" >&2
    exit 1
}

cat <<END
export HOLDFAST_URL='http://$address:${ports%%-*}'
export DATABASE_URL="\$(cat '$secrets/database_url')"
export INVENTORY_AUTHORITY_TOKEN="\$(cut -d , -f 1 '$secrets/authority_token')"
export INVENTORY_ADMIN_TOKEN="\$(cut -d , -f 1 '$secrets/admin_token')"
in_container() { # service, its arguments
    set -- --rm --no-deps --volume "\$PWD:/here" --workdir /here "\$@"
    if [ ! -t 0 ] || [ ! -t 1 ]; then set -- -T "\$@"; fi
    (cd '$root' && docker compose run "\$@")
}
holdfast() { in_container api holdfast "\$@"; }
temporal() { in_container temporal "\$@"; }
psql() { in_container psql psql "\$@"; }
pg_dump() { in_container psql pg_dump "\$@"; }
pg_restore() { in_container psql pg_restore "\$@"; }
END
