"""The rows of `make demo-drift`, before and after the drift, and how they get to the source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from updraft.usecase import UseCase, from_file

if TYPE_CHECKING:
    import pandas as pd

ROWS, CALLERS, ROWS_OF_CALLER, HIGHEST = 4000, 40, 15, 40  # the last is the highest Vintage after the drift


def synthetic(case: UseCase, seed: int) -> pd.DataFrame:
    """Return ROWS synthetic rows, with target and id."""
    from updraft.demo.rows import generate

    return generate(case, ROWS, seed=seed)


def drifted(case: UseCase, seed: int) -> pd.DataFrame:
    """Return ROWS synthetic rows as they are after the drift."""
    rows = synthetic(case, seed)
    return rows.assign(Vintage=rows["Vintage"].clip(upper=HIGHEST))


def questions(case: UseCase, seed: int) -> list[dict[str, Any]]:
    """Return as many drifted rows as all callers together ask about, as JSON objects of the features."""
    rows = drifted(case, seed).head(CALLERS * ROWS_OF_CALLER)[case.feature_names]
    return list(json.loads(rows.to_json(orient="records")))


def replace_rows(case: UseCase, rows: pd.DataFrame, folder: Path, environ: Mapping[str, str]) -> None:
    """Replace the rows at the use case's source; a file of them is left in `folder`."""
    from updraft.addresses import from_environment
    from updraft.demo.rows import write
    from updraft.destinations import open_destination
    from updraft.sources import open_source

    folder.mkdir(parents=True, exist_ok=True)
    path = write(case, rows, folder / f"{case.name}.csv")
    connections = from_environment(environ)
    with (
        open_source(from_file(case, path), connections) as source,
        open_destination(case, connections) as destination,
    ):
        destination.load(source, None)
