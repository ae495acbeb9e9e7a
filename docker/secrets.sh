#!/bin/sh
# Write docker/.env with random secrets for docker-compose.yml; an existing file is left alone.
#
#   docker/secrets.sh [--postgres] [FILE]
#
# --postgres  Label Studio keeps its tasks in PostgreSQL instead of SQLite, for more than a few annotators;
#             from the start, as nothing is moved over
set -eu

postgres=
if [ "${1:-}" = --postgres ]; then
    postgres="
COMPOSE_PROFILES=postgres
LABEL_STUDIO_DB=postgresql
LABEL_STUDIO_DB_HOST=postgres"
    shift
fi
file=${1:-$(dirname "$0")/.env}
if [ -e "$file" ]; then
    echo "$file exists already; nothing was written" >&2
    exit 1
fi

random() {
    od -An -N20 -tx1 /dev/urandom | tr -d ' \n'
}

umask 077
aside=$(mktemp "$file.XXXXXX")
trap 'rm -f "$aside"' EXIT
cat > "$aside" <<END
COMPOSE_PROJECT_NAME=maskloop
LABEL_STUDIO_USERNAME=admin@example.com
LABEL_STUDIO_PASSWORD=$(random)
LABEL_STUDIO_USER_TOKEN=$(random)
MASKLOOP_BASIC_AUTH_USER=label-studio
MASKLOOP_BASIC_AUTH_PASSWORD=$(random)
POSTGRES_PASSWORD=$(random)$postgres
END
mv "$aside" "$file"
trap - EXIT
echo "wrote $file"
