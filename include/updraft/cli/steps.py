"""Show steps of a command on stderr as they run: a spinner, rows, seconds, and the log above them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.progress import Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

Count = Callable[[int, int | None], None]
stderr = Console(stderr=True)


class _Mark(SpinnerColumn):
    """A spinner while a step runs; then ✓ or ✗."""

    def render(self, task: Task) -> RenderableType:
        return Text("✗", style="red") if task.fields["failed"] else super().render(task)


@contextmanager
def show_steps() -> Iterator[Callable[[str], Any]]:
    """Show each step as it runs on stderr, below the log of the stages."""
    columns = _Mark(finished_text="✓"), TextColumn("{task.description}"), TextColumn("{task.fields[rows]}")
    with Progress(*columns, TimeElapsedColumn(), console=stderr) as progress:
        handler = RichHandler(console=progress.console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
        logger = logging.getLogger("updraft")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)

        @contextmanager
        def step(title: str) -> Iterator[Count]:
            task = progress.add_task(title, total=None, rows="", failed=False)

            def count(done: int, total: int | None) -> None:
                share = f" of {total:,}, {min(done / total, 1):.0%}" if total else ""
                progress.update(task, rows=f"{done:,} rows{share}")

            try:
                yield count
            except BaseException:
                progress.update(task, failed=True)
                progress.stop_task(task)
                raise
            progress.update(task, total=1, completed=1)

        try:
            yield step
        finally:
            logger.removeHandler(handler)
