#!/bin/sh
# Run the tests of what Airflow loads on the oldest Airflow that is supported, in an environment of its own,
# .venv-compat, which is made when it is missing or its pins have changed. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."

venv=.venv-compat
pins=tests/compat/requirements.txt
if ! cmp -s "$pins" "$venv/.installed"; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$pins"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    cp "$pins" "$venv/.installed"
fi
"$venv/bin/airflow" version
[ $# -gt 0 ] || set -- tests/unit/customization tests/unit/operators tests/unit/sensors tests/unit/triggers \
    tests/integration/test_*.py tests/live/test_killing.py tests/live/test_triggerers.py
# What an old Airflow and its dependencies call old of each other is not ours to mend.
exec "$venv/bin/python" -m pytest -W default::DeprecationWarning -W default::UserWarning "$@"
