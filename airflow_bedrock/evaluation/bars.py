"""How far the models are, as bars, where somebody looks on: in a terminal. A log has its lines instead."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from airflow_bedrock.evaluation.inference import Inference

_SECONDS = 0.2  # between two looks


@contextmanager
def bars(models: Collection[Inference], console: Console | None = None) -> Iterator[None]:
    """Show a bar for each model while the block runs; nothing where standard error is no terminal.

    :param console: where to show them, instead of standard error.
    """
    if console is None and not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ended = threading.Event()
    with Progress(*columns, console=console or Console(stderr=True)) as shown:
        tasks = {model: shown.add_task(model.model.model_id) for model in models}

        def show() -> None:
            for model, task in tasks.items():
                progress = model.progress
                shown.update(task, total=progress.total, completed=progress.asked + progress.kept)

        def follow() -> None:
            while not ended.wait(_SECONDS):
                show()

        following = threading.Thread(target=follow)
        following.start()
        try:
            yield
        finally:
            ended.set()
            following.join()
            show()
