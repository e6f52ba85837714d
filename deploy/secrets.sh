#!/bin/sh
# Make the secrets of docker-compose.yml, a file each, where they are not there yet: deploy/secrets.sh [folder]
# The folder is closed to other users; the files are not, since each container reads them as a user of its own.
set -eu
folder="${1:-secrets}"
mkdir -p "$folder"
chmod 700 "$folder"

write() { # name, value
    [ -e "$folder/$1" ] || { printf '%s\n' "$2" >"$folder/$1" && chmod 444 "$folder/$1" && echo "made $folder/$1"; }
}

for name in postgres_password holdfast_password temporal_password authority_token admin_token grafana_password; do
    value=$(openssl rand -hex 32) # on a line of its own: `set -e` does not see a failure inside an argument
    write "$name" "$value"
done
password=$(cat "$folder/holdfast_password")
write database_url "postgresql://holdfast:$password@postgres:5432/holdfast"
# Yours to fill in, for the alerts of ops/alertmanager/alertmanager.yml.
write alert_mail_password put-the-password-of-the-mail-account-here
write alert_chat_url https://put.the/webhook/of/your/chat/here
