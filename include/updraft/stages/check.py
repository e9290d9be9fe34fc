"""`check`: validate use cases without running them: YAML, suite, estimators' parameters and expectations."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.usecase import BadUseCase, ParsedUseCase, UseCase, etl_dags, parse
from updraft.usecase.messages import listed, nearest
from updraft.usecase.rows_definition import Schedule
from updraft.usecase.yaml_lines import Document, Fault, Place


def check(name: str, root: Path = ROOT) -> list[Fault]:
    """Return every fault of a use case; imports scikit-learn and Great Expectations, which takes seconds."""
    parsed = parse(name, root)
    schedule = parsed.case.schedule if parsed.case else None
    return _sorted([*_faults(parsed, name, root), *unknown_etls(schedule, parsed.yaml, root)], name, root)


def _faults(parsed: ParsedUseCase, name: str, root: Path) -> list[Fault]:
    """Return what is wrong with YAML and suite by themselves."""
    faults = [parsed.yaml.fault(*error) for error in _estimator_errors(parsed.case)] if parsed.case else []
    faults += parsed.faults
    suite = root / "expectations" / f"{name}.json"
    if not any(fault.file == suite and fault.message.startswith(("no such", "not a")) for fault in faults):
        faults += suite_faults(suite)
    return faults


def _sorted(faults: list[Fault], name: str, root: Path) -> list[Fault]:
    """Leave out what is there twice, and put the YAML's faults before the suite's, by line."""
    suite = root / "expectations" / f"{name}.json"
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.file == suite, fault.line or 0))


def unknown_etls(schedule: Schedule | None, yaml: Document, root: Path) -> Iterator[Fault]:
    """Name the ETLs of a schedule that do not exist; a run that began goes on without them."""
    known = etl_dags(root)
    for index, dag_id in enumerate(schedule.after if schedule else ()):
        if dag_id not in known:
            hint = nearest(dag_id, known) or f"; there are: {listed(known) or 'none'}"
            yield yaml.fault(("schedule", "after", str(index)), f"schedule.after: no ETL {dag_id!r}{hint}")


def require_valid(name: str, root: Path = ROOT) -> None:
    """Raise BadUseCase with every fault of YAML and suite, so that a run stops before its first row."""
    if faults := _sorted(_faults(parse(name, root), name, root), name, root):
        raise BadUseCase("\n".join(fault.format(root) for fault in faults))


def unread_files(root: Path = ROOT) -> list[Fault]:
    """List the files beside the use cases, ETLs and suites that are not read, because of their suffix."""
    folders = (
        (root / "include" / "usecases", ".yaml"),
        (root / "include" / "etl", ".yaml"),
        (root / "expectations", ".json"),
    )
    return [
        Fault(path, None, f"not read: the name must end in {suffix}")
        for folder, suffix in folders
        for path in sorted(folder.glob("[!.]*"))
        if path.suffix != suffix
    ]


def _estimator_errors(case: UseCase) -> Iterator[tuple[Place, str]]:
    from sklearn.calibration import CalibratedClassifierCV

    from updraft.learning.estimators import build

    for name, candidate in case.candidates.items():
        model = build(case, candidate.estimator, {})["model"]
        model = model.estimator if isinstance(model, CalibratedClassifierCV) else model  # LinearSVC is wrapped in it
        place = ("candidates", name)
        for key, value in candidate.params.items():
            yield from _parameter_errors(model, key, [value], (*place, "params", key))
        for key, values in candidate.search.grid.items() if candidate.search else ():
            yield from _parameter_errors(model, key, values, (*place, "search", "grid", key))


def _parameter_errors(model: Any, name: str, values: list[Any], place: Place) -> Iterator[tuple[Place, str]]:
    known = sorted(model.get_params(deep=False))
    if name not in known:
        hint = nearest(name, known) or f"; there are: {listed(known)}"
        yield place, f"{'.'.join(place)}: {type(model).__name__} has no such parameter{hint}"
        return
    for value in values:
        try:
            type(model)(**{name: value})._validate_params()  # the first step of `fit`
        except (TypeError, ValueError) as error:
            yield place, f"{'.'.join(place)}: {' '.join(str(error).split())}"


def suite_faults(path: Path) -> Iterator[Fault]:
    """Let Great Expectations validate each expectation by itself."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read once, when Great Expectations is imported
    import great_expectations as gx
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    text = path.read_text(encoding="utf-8")
    raw = json.loads(text)
    lines = [text.count("\n", 0, match.start()) + 1 for match in re.finditer(r'"type"\s*:', text)]
    known = list_registered_expectation_implementations()
    if not isinstance(raw.get("name"), str):
        yield Fault(path, 1, "'name' is missing: Great Expectations requires a suite to have one")
    for index, entry in enumerate(raw["expectations"]):
        line = lines[index] if len(lines) == len(raw["expectations"]) else None
        if entry["type"] not in known:
            hint = nearest(entry["type"], known)
            yield Fault(path, line, f"no expectation is called {entry['type']!r}{hint}")
            continue
        try:
            gx.ExpectationSuite(name="one", expectations=[entry])
        except Exception as error:  # its own errors have no common base
            yield from (Fault(path, line, f"{entry['type']}: {message}") for message in _messages(error))


def _messages(error: Exception) -> list[str]:
    """Return a line for each invalid argument; Great Expectations validates them with pydantic."""
    faults: list[dict[str, Any]] = error.errors() if hasattr(error, "errors") else []
    by_argument = {fault["loc"][0]: fault["msg"] for fault in reversed(faults)}
    return [f"{name}: {message}" for name, message in by_argument.items()] or [" ".join(str(error).split())]
