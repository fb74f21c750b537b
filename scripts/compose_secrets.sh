#!/bin/sh
# Write the secrets that docker-compose.yaml needs into a directory, one file each, for the services to read.
# A value from the environment (see .env.example) wins; missing ones are generated at random the first time and kept.
# Nothing is printed.
#
# usage: compose_secrets.sh DIRECTORY
set -eu

directory=${1:?usage: compose_secrets.sh DIRECTORY}
# Airflow's containers run with group 0, whatever their user, and read by the group. Postgres runs with its own, and needs
# its password alone.
umask 027
mkdir -p "$directory"
chmod 755 "$directory"

put() { # name value
    printf '%s' "$2" >"$directory/$1.new"
    mv "$directory/$1.new" "$directory/$1"
}

random_word() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

random_fernet_key() { # 32 bytes in URL-safe base64
    head -c 32 /dev/urandom | base64 | tr '+/' '-_'
}

secret() { # name value-from-environment maker
    if [ -n "$2" ]; then
        put "$1" "$2"
    elif [ ! -s "$directory/$1" ]; then
        put "$1" "$("$3")"
    fi
}

fits_into_a_url() { # name value
    case $2 in
        *[!A-Za-z0-9._~-]*)
            echo "$1 becomes part of a URL: use letters, digits and . _ ~ - only." >&2
            exit 1
            ;;
    esac
}

fits_into_a_url POSTGRES_PASSWORD "${POSTGRES_PASSWORD-}"
fits_into_a_url REDIS_PASSWORD "${REDIS_PASSWORD-}"
if [ -n "${POSTGRES_PASSWORD-}" ] && [ -s "$directory/postgres_password" ] &&
    [ "$POSTGRES_PASSWORD" != "$(cat "$directory/postgres_password")" ]; then
    echo "POSTGRES_PASSWORD is not the one that the database was made with, and the database keeps that one." \
        "Set it back, or begin anew with: docker compose down --volumes" >&2
    exit 1
fi

secret postgres_password "${POSTGRES_PASSWORD-}" random_word
chmod 644 "$directory/postgres_password"
secret redis_password "${REDIS_PASSWORD-}" random_word
secret fernet_key "${FERNET_KEY-}" random_fernet_key
secret api_secret_key "${API_SECRET_KEY-}" random_word
secret jwt_secret "${JWT_SECRET-}" random_word
secret admin_password "${AIRFLOW_ADMIN_PASSWORD-}" random_word
put sql_alchemy_conn "postgresql+psycopg2://airflow:$(cat "$directory/postgres_password")@postgres/airflow"
put broker_url "redis://:$(cat "$directory/redis_password")@redis:6379/0"
