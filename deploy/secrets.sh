#!/bin/sh
# Usage: deploy/secrets.sh [folder]. Creates the secret files of docker-compose.yml that do not exist yet.
# Only the owner can enter the folder. The files are world-readable, because every container reads them as another user.
set -eu
folder="${1:-secrets}"
mkdir -p "$folder"
chmod 700 "$folder"

write() { # name, value
    [ -e "$folder/$1" ] || { printf '%s\n' "$2" >"$folder/$1" && chmod 444 "$folder/$1" && echo "created $folder/$1"; }
}

for name in postgres_password holdfast_password temporal_password authority_token admin_token grafana_password; do
    value=$(openssl rand -hex 32) # separate line: `set -e` ignores a failing command substitution in an argument
    write "$name" "$value"
done
password=$(cat "$folder/holdfast_password")
write database_url "postgresql://holdfast:$password@postgres:5432/holdfast"
# Placeholders to replace: the credentials of ops/alertmanager/alertmanager.yml.
write alert_mail_password put-the-password-of-the-mail-account-here
write alert_chat_url https://put.the/webhook/of/your/chat/here
write alert_pager_key put-the-integration-key-of-the-pager-here
