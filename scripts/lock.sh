#!/bin/sh
# Write the pins again, with their hashes: constraints.txt, which holds every package that the extra `dev` needs, on every
# supported Python and platform; scripts/live/requirements.txt, what the image of docker-compose.yaml has beyond that; and
# tests/compat/requirements.txt, the environment of the oldest supported Airflow.
# Pins that still fit stay unchanged; `--upgrade` moves them all to the newest versions.
# The index's address stays out of the files, so that they work with whatever mirror a machine uses.
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
-h | --help)
    sed -n 's/^# //p; /^set/q' scripts/lock.sh
    exit ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

lock() {
    "$scratch/venv/bin/uv" pip compile --universal --generate-hashes --no-emit-index-url \
        --no-annotate --no-header --quiet "$@"
}

# jsonschema imports rfc3987-syntax wherever it is, and that costs each Airflow process 120,000 objects; only a validation of
# the bill of materials would ask for it.
lock pyproject.toml --extra dev --python-version 3.11 --no-emit-package rfc3987-syntax "$@" -o constraints.txt
lock pyproject.toml scripts/live/requirements.in --extra dev --python-version 3.11 --no-emit-package rfc3987-syntax --constraint constraints.txt "$@" -o "$scratch/live.txt"
awk 'NR == FNR { pinned[$1]; next } !/^ / { keep = !($1 in pinned) } keep' constraints.txt "$scratch/live.txt" \
    >"$scratch/requirements.txt"
mv "$scratch/requirements.txt" scripts/live/requirements.txt
echo 'apache-airflow==3.0.6' | lock - pyproject.toml tests/compat/requirements.in --constraint tests/compat/pins/3.0.6.txt \
    --extra prep --extra evaluation --python-version 3.12 "$@" -o tests/compat/requirements.txt
