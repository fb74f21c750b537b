"""Airflow's UI with the example DAGs and Local Bedrock, on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from scripts.postgres import postgres
from scripts.stack import (
    BIN,
    PROJECT,
    SHORT_DEFERRALS,
    Airflow,
    StartError,
    exit_code,
    free_port,
    is_taken,
    local_bedrock,
)

PORT = 8080
BEDROCK_PORT = 4599


def main() -> int:
    """Start both, print their addresses, wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="where Airflow's UI listens (default: %(default)s)")
    parser.add_argument(
        "--bedrock-port", type=int, default=BEDROCK_PORT, help="where Local Bedrock listens (default: %(default)s)"
    )
    parser.add_argument("--dags", type=Path, default=PROJECT / "dags", help="the folder of the DAGs")
    parser.add_argument(
        "--quota", action="append", default=[], metavar="NAME=NUMBER", help="change a quota, e.g. training_jobs=1"
    )
    parser.add_argument("--job-seconds", default="30", help="how long a customization job takes (default: %(default)s)")
    parser.add_argument("--home", type=Path, default=PROJECT / ".ui", help="where everything is kept")
    arguments = parser.parse_args()
    if not arguments.dags.is_dir():
        parser.error(f"argument --dags: there is no folder {arguments.dags}")
    return exit_code(partial(_show, arguments), interrupted=0)


def _show(arguments: argparse.Namespace) -> int:
    port, bedrock_port = (_free(wished) for wished in (arguments.port, arguments.bedrock_port))
    quotas = [word for quota in arguments.quota for word in ("--quota", quota)]
    more = ("--job-seconds", arguments.job_seconds, *quotas)
    home = arguments.home.resolve()
    with local_bedrock(home, *more, port=bedrock_port) as (bedrock, environment), _database(home) as database:
        environment |= SHORT_DEFERRALS | database
        airflow = Airflow(home / "airflow", environment, port=port, dags=arguments.dags.resolve())
        exports = home / "exports.sh"
        exports.write_text(_exports(airflow))
        print("Starting Airflow, half a minute …", flush=True)
        with airflow.standalone() as child:
            print(
                f"""
  Airflow        {airflow.url}   (no sign-in: anybody who reaches this loopback address is an admin)
  Local Bedrock  {bedrock}
  logs           {airflow.home}/standalone.log
  second shell   . {shlex.quote(str(exports))}   (airflow, airflow-bedrock and the AWS CLI then reach both)

Open the DAG finetune_support_router, press Trigger, fill in the form. Ctrl-C stops everything.""",
                flush=True,
            )
            return child.wait()


@contextmanager
def _database(home: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL with its data below ``home``; yield the setting by which Airflow finds it."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres(home / "postgres"))
        except StartError as error:  # of a wheel that has none for this machine, or of a folder that it may not enter
            print(f"Using SQLite, which a backfill beside it can lock: {error}", flush=True)
            yield {}
        else:
            yield {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}


def _free(wished: int) -> int:
    """Return the port, or a free one where somebody listens there already."""
    if not is_taken(wished):
        return wished
    other = free_port()
    print(f"Port {wished} is in use: using {other} instead.", flush=True)
    return other


def _exports(airflow: Airflow) -> str:
    """Return the exports for a second shell: the variables that are not in this one's environment."""
    own = {name: value for name, value in airflow.environment.items() if os.environ.get(name) != value}
    own["PATH"] = f"{BIN}:$PATH"
    return "".join(f"export {name}={_quoted(name, value)}\n" for name, value in sorted(own.items()))


def _quoted(name: str, value: str) -> str:
    return f'"{value}"' if name == "PATH" else shlex.quote(value)


if __name__ == "__main__":
    sys.exit(main())
