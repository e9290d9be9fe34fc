"""The use case of `make demo-drift`: like a shipped one, but made to go round the loop in minutes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.local_stack.environment import StackError
from updraft.usecase import UseCase, load
from updraft.usecase.load import files_of

NAME, LIKE = "drift_demo", "vehicle_insurance"
CANDIDATE = "hist_gradient_boosting"
CHANGES: dict[str, Any] = {
    "title": "Would a customer buy vehicle insurance? (demo of drift)",
    "source": {"mongodb": {"collection": NAME}},
    "choose_by": "roc_auc",
    "floors": {},
    "gate": {"metric": "roc_auc", "rule": "not_worse", "margin": 0.1},
    "promote": "canary",
    "rollout": {"percent": 50, "minutes": 0.05, "min_rows": 150},
    "monitor": {
        "schedule": "0 0 1 1 *",  # the demo starts it
        "window": "1d",
        "performance": {"min_labels": 150},
        "act": {"covariate": "retrain", "performance": "roll_back"},
    },
}


@contextmanager
def demo_case(root: Path = ROOT) -> Iterator[UseCase]:
    """Write YAML and suite while the block runs: Airflow reads them where those of all use cases are.

    StackError where a use case of somebody's own has the name; what a demo left that was killed is written anew.
    """
    from ruamel.yaml import YAML

    yaml, suite = files_of(NAME, root)
    like, like_suite = files_of(LIKE, root)
    writer = YAML(typ="safe")
    values = writer.load(like.read_text(encoding="utf-8"))
    values |= CHANGES | {"candidates": {CANDIDATE: values["candidates"][CANDIDATE]}}
    del values["schedule"]
    if yaml.exists() and str(CHANGES["title"]) not in yaml.read_text(encoding="utf-8", errors="replace"):
        raise StackError(f"{yaml}: is a use case of your own; the demo needs the name: rename yours")
    try:
        with yaml.open("w", encoding="utf-8") as file:
            writer.dump(values, file)
        shutil.copy(like_suite, suite)
        yield load(NAME, root)
    except PermissionError as error:
        raise StackError(f"{error.filename}: cannot be written; the demo adds a use case there while it runs") from None
    finally:
        yaml.unlink(missing_ok=True)
        suite.unlink(missing_ok=True)
