"""Check use cases without running anything: their YAML, suite, and what scikit-learn and Great Expectations say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.usecase import BadUseCase, UseCase, examine
from updraft.usecase.messages import listed, nearest
from updraft.usecase.yaml_lines import Fault, Place


def check(name: str, root: Path = ROOT) -> list[Fault]:
    """Say all that is wrong with a use case; it imports scikit-learn and Great Expectations, which takes seconds."""
    found = examine(name, root)
    faults = [found.yaml.fault(place, message) for place, message in _of_estimators(found.case)] if found.case else []
    faults += found.faults
    suite = root / "expectations" / f"{name}.json"
    if not any(fault.file == suite and fault.message.startswith(("no such", "not a")) for fault in faults):
        faults += _of_suite(suite)
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file == suite, fault.line or 0))


def require_valid(name: str, root: Path = ROOT) -> None:
    """Raise BadUseCase with all that `check` finds, so that a run stops before its first row."""
    if faults := check(name, root):
        raise BadUseCase("\n".join(fault.format(root) for fault in faults))


def unread_files(root: Path = ROOT) -> list[Fault]:
    """Name the files beside the use cases that nobody reads."""
    folders = (root / "include" / "usecases", ".yaml"), (root / "expectations", ".json")
    strays = [(path, ends) for folder, ends in folders for path in sorted(folder.glob("[!.]*")) if path.suffix != ends]
    return [Fault(path, None, f"not read: the name must end in {ends}") for path, ends in strays]


def _of_estimators(case: UseCase) -> Iterator[tuple[Place, str]]:
    from sklearn.calibration import CalibratedClassifierCV

    from updraft.learning.estimators import build

    for name, candidate in case.candidates.items():
        model = build(case, candidate.estimator, {})["model"]
        model = model.estimator if isinstance(model, CalibratedClassifierCV) else model  # LinearSVC is wrapped in it
        place = ("candidates", name)
        for key, value in candidate.params.items():
            yield from _of_parameter(model, key, [value], (*place, "params", key))
        for key, values in candidate.search.grid.items() if candidate.search else ():
            yield from _of_parameter(model, key, values, (*place, "search", "grid", key))


def _of_parameter(model: Any, name: str, values: list[Any], place: Place) -> Iterator[tuple[Place, str]]:
    known = sorted(model.get_params(deep=False))
    if name not in known:
        hint = nearest(name, known) or f"; there are: {listed(known)}"
        yield place, f"{'.'.join(place)}: {type(model).__name__} has no such parameter{hint}"
        return
    for value in values:
        try:
            type(model)(**{name: value})._validate_params()  # what `fit` begins with
        except (TypeError, ValueError) as error:
            yield place, f"{'.'.join(place)}: {' '.join(str(error).split())}"


def _of_suite(path: Path) -> Iterator[Fault]:
    """Ask Great Expectations about each expectation by itself."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read once, when Great Expectations is imported
    import great_expectations as gx
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    text = path.read_text(encoding="utf-8")
    raw = json.loads(text)
    lines = [text.count("\n", 0, each.start()) + 1 for each in re.finditer(r'"type"\s*:', text)]
    known = list_registered_expectation_implementations()
    if not isinstance(raw.get("name"), str):
        yield Fault(path, 1, "'name' is missing: Great Expectations wants a name of a suite")
    for index, entry in enumerate(raw["expectations"]):
        line = lines[index] if len(lines) == len(raw["expectations"]) else None
        if entry["type"] not in known:
            hint = nearest(entry["type"], known)
            yield Fault(path, line, f"no expectation is called {entry['type']!r}{hint}")
            continue
        try:
            gx.ExpectationSuite(name="one", expectations=[entry])
        except Exception as error:  # its own errors have no common base
            yield from (Fault(path, line, f"{entry['type']}: {said}") for said in _said(error))


def _said(error: Exception) -> list[str]:
    """Say an error in one line for each argument; Great Expectations checks them by pydantic."""
    faults: list[dict[str, Any]] = error.errors() if hasattr(error, "errors") else []
    by_argument = {fault["loc"][0]: fault["msg"] for fault in reversed(faults)}
    return [f"{name}: {message}" for name, message in by_argument.items()] or [" ".join(str(error).split())]
