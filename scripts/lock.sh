#!/bin/sh
# Write constraints.txt anew: every package that the extra `dev` needs, on every supported Python and platform, pinned
# and with its hashes. Pins that still fit stay as they are; `--upgrade` moves them all to the newest versions.
# The index's address stays out of the file, so that it works with whatever mirror a machine uses.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.8
"$scratch/venv/bin/uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet "$@" -o constraints.txt
