"""Progress bars of the models in a terminal. A log gets lines instead."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import TaskID

    from airflow_bedrock.evaluation.inference import Inference


@contextmanager
def bars(models: Collection[Inference], console: Console | None = None) -> Iterator[None]:
    """Show a bar for each model while the block runs; nothing if standard error is not a terminal.

    :param console: where to show them, instead of standard error.
    """
    if console is None and not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    tasks: dict[Inference, TaskID] = {}

    class Shown(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            """Return the current bars, each time that they are drawn."""
            for model, task in tasks.items():
                progress = model.progress
                self.update(task, total=progress.total, completed=progress.answered + progress.kept)
            return super().get_renderables()

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    shown = Shown(*columns, console=console or Console(stderr=True))
    tasks.update((model, shown.add_task(model.model.model_id)) for model in models)
    with shown:
        yield
