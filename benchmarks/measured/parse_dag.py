"""Measure how long Airflow's DAG processor takes to parse a DAG file, in the process that it forks for each parse.

The DAG processor imports what a DAG file names below ``airflow.`` itself, once, before it forks; all else is imported
in the fork, at each parse.

usage: parse_dag.py DAG_FILE
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, cast

import structlog
from airflow.dag_processing import processor


def parse(figures: Path) -> None:
    """Do what the forked process does, and write down how long the parse took, serialization included."""
    parse_file = processor._parse_file

    def measured(*arguments: Any) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        result = parse_file(*arguments)
        figures.write_text(
            json.dumps({"parse, s": time.perf_counter() - start, "parse, s of CPU": time.process_time() - cpu})
        )
        return result

    setattr(processor, "_parse_file", measured)  # noqa: B010 - what Airflow does there has no public name
    processor._parse_file_entrypoint()


def main(dag_file: Path) -> None:
    """Parse the file through the DAG processor's own process, and print the figures; one DAG must come of it."""
    importlib.import_module("airflow.dag_processing.manager")  # what the DAG processor has loaded before any DAG
    gc.freeze()  # as DagFileProcessorManager.before_run() does, so that no fork collects what it shares
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("ab") as log:
        figures = Path(folder, "figures.json")
        process = processor.DagFileProcessorProcess.start(
            id=uuid.uuid4(),
            path=dag_file,
            bundle_path=dag_file.parent,
            bundle_name="benchmark",
            dag_file_rel_path=dag_file.name,
            callbacks=[],
            target=functools.partial(parse, figures),
            client=cast("Any", None),  # the DAG asks for no connection and no variable
            logger=structlog.get_logger(),
            logger_filehandle=log,
        )
        while not process.is_ready:
            process._service_subprocess(1)
        result = process.parsing_result
        assert result is not None
        assert len(result.serialized_dags) == 1, result.import_errors
        print(figures.read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
