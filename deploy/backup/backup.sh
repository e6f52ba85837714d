#!/bin/sh
# Dumps the databases every BACKUP_HOURS, restores each dump into a database of its own to check it, and deletes dumps that
# are older than BACKUP_DAYS. `backup.sh once` does it once; its exit code is 1 if a database failed.
# Reads libpq's variables (PGHOST, PGUSER, ...), and the password from a secret. Each good dump is told to Prometheus by
# node_exporter, which reads metrics/backup.prom.
set -u
umask 027
folder="${BACKUP_FOLDER:-/backups}"
metrics="$folder/metrics/backup.prom"
[ ! -r /run/secrets/postgres_password ] || PGPASSWORD="$(cat /run/secrets/postgres_password)"
export PGPASSWORD="${PGPASSWORD:-}"

say() { # level, event
    printf '{"level": "%s", "logger": "backup", "event": "%s", "timestamp": "%s"}\n' "$1" "$2" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}

tables() { # database
    psql --no-psqlrc --tuples-only --no-align --dbname "$1" --command \
        "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
}

back_up() { # database
    database="$1" begun="$(date -u +%s)" check="$1_restore_check"
    dump="$folder/$database-$(date -u +%Y%m%dT%H%M%SZ).dump"
    psql --no-psqlrc --quiet --dbname postgres --command "DROP DATABASE IF EXISTS \"$check\" WITH (FORCE)" 2>/dev/null
    pg_dump --format=custom --file="$dump.part" --dbname="$database" &&
        psql --no-psqlrc --quiet --dbname postgres --command "CREATE DATABASE \"$check\" TEMPLATE template0" &&
        pg_restore --exit-on-error --no-owner --no-privileges --dbname="$check" "$dump.part" &&
        [ "$(tables "$check")" = "$(tables "$database")" ]
    failed=$?
    psql --no-psqlrc --quiet --dbname postgres --command "DROP DATABASE IF EXISTS \"$check\" WITH (FORCE)" 2>/dev/null
    if [ "$failed" -ne 0 ]; then
        rm -f "$dump.part"
        say error "the backup of $database failed, or could not be restored"
        return 1
    fi
    mv "$dump.part" "$dump"
    { [ ! -e "$metrics" ] || grep -v "database=\"$database\"" "$metrics"; } >"$metrics.new"
    echo "holdfast_backup_timestamp_seconds{database=\"$database\"} $begun" >>"$metrics.new"
    chmod 644 "$metrics.new" && mv "$metrics.new" "$metrics"
    say info "the backup of $database was restored for a check: $dump"
}

round() {
    mkdir -p "$folder/metrics" && chmod 755 "$folder" "$folder/metrics" || return 1
    rm -f "$folder"/*.part # of a round that was stopped
    wrong=0
    touch "$folder/metrics/wanted.prom"
    for each in ${BACKUP_DATABASES:-holdfast temporal temporal_visibility}; do # so that a first backup that fails is told too
        grep -q "database=\"$each\"" "$folder/metrics/wanted.prom" ||
            echo "holdfast_backup_wanted_timestamp_seconds{database=\"$each\"} $(date -u +%s)" >>"$folder/metrics/wanted.prom"
    done
    chmod 644 "$folder/metrics/wanted.prom"
    for each in ${BACKUP_DATABASES:-holdfast temporal temporal_visibility}; do
        back_up "$each" || wrong=1
    done
    [ "$wrong" -ne 0 ] || find "$folder" -maxdepth 1 -name '*.dump' -mtime "+${BACKUP_DAYS:-14}" -delete
    return "$wrong"
}

if [ "${1:-}" = once ]; then
    round
    exit
fi
trap 'exit 0' TERM INT
while true; do
    round
    sleep "$((${BACKUP_HOURS:-24} * 3600))" &
    wait $!
done
