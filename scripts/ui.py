"""Airflow's UI with the example DAGs and Local Bedrock, on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from scripts.stack import PROJECT, SHORT_DEFERRALS, Airflow, exit_code, local_bedrock

PORT = 8080


def main() -> int:
    """Start both, say where, wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make ui", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="where Airflow's UI listens (default: %(default)s)")
    parser.add_argument("--job-seconds", default="30", help="how long a customization job takes (default: %(default)s)")
    parser.add_argument("--home", type=Path, default=PROJECT / ".ui", help="where everything is kept")
    arguments = parser.parse_args()
    return exit_code(partial(_show, arguments), interrupted=0)


def _show(arguments: argparse.Namespace) -> int:
    with local_bedrock(arguments.home, "--job-seconds", arguments.job_seconds) as (bedrock, environment):
        airflow = Airflow(arguments.home / "airflow", environment | SHORT_DEFERRALS, port=arguments.port)
        print("Starting Airflow, half a minute …", flush=True)
        airflow.migrate()
        with airflow.standalone() as child:
            print(
                f"""
  Airflow        {airflow.url}   (no sign-in is asked for: whoever reaches this loopback address is an admin)
  Local Bedrock  {bedrock}
  logs           {airflow.home}/standalone.log

Open the DAG finetune_support_router, press Trigger, fill in the form. Ctrl-C ends everything.""",
                flush=True,
            )
            return child.wait()


if __name__ == "__main__":
    sys.exit(main())
