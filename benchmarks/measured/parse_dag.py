"""Measure how long Airflow takes to parse a DAG file: once on its own, and again and again as the DAG processor does.

The DAG processor imports what a DAG file names below ``airflow.`` itself, once, and parses in a fork each time.

usage: parse_dag.py on-its-own|in-a-fork DAG_FILE
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def parse(dag_file: str) -> float:
    """Parse the file and return the seconds it took; one DAG must come of it."""
    from airflow.dag_processing.dagbag import DagBag

    start = time.perf_counter()
    bag = DagBag(dag_file, safe_mode=False)
    seconds = time.perf_counter() - start
    assert len(bag.dags) == 1, bag.import_errors
    return seconds


def parse_in_a_fork(dag_file: str) -> float:
    """Parse the file in a fork of this process and return the seconds it took."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, str(parse(dag_file)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        seconds = float(answer.read())
    os.wait()
    return seconds


def main(how: str, dag_file: str) -> None:
    """Parse the file in the way asked for and print the figure."""
    importlib.import_module("airflow.dag_processing.processor")  # what the DAG processor has loaded before any DAG
    from airflow.utils.file import iter_airflow_imports

    if how == "on-its-own":
        seconds = parse(dag_file)
    else:
        for module in iter_airflow_imports(dag_file):
            importlib.import_module(module)
        seconds = parse_in_a_fork(dag_file)
    print(json.dumps({"parse, s": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
