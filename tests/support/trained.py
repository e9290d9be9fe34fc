"""What the stages make of 2,000 generated rows, up to the evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trained:
    """A split of generated rows, both candidates trained on it, their evaluation, and an environment for Python."""

    split: Path
    models: list[Path]
    evaluation: Path
    environ: dict[str, str]
