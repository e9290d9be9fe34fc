"""Marks that follow from fixtures, and a guard that proves them.

A test carries a mark of `MARKS` when it requests the fixture that stands beside it, directly or through other fixtures.
A test that starts a program of `PROGRAMS` without its mark fails before the program runs, and `make quick`,
which selects tests by their marks, starts none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MARKS = {
    "starts_servers": "server",
    "starts_airflow": "airflow",
    "starts_stack": "stack",
    "shared_data": "real",
    "starts_compose": "compose",
    "takes_long": "slow",
    "peer_environments": "peers",
}
PROGRAMS = {
    **dict.fromkeys(
        (
            "mongod",
            "weed",
            "granian",
            "gunicorn",
            "postgres",
            "mariadbd",
            "chromium",
            "azurite-blob",
            "dask",
            "exporter.py",
            "prometheus",
            "prometheus-alertmanager",
        ),
        "server",
    ),
    "airflow": "airflow",
    **dict.fromkeys(("supervisord", "updraft up", "updraft demo", "updraft demo-drift"), "stack"),
    "docker": "compose",
}
_now: list[pytest.Item] = []  # the test that runs


def mark_by_fixtures(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it requests, directly or through others."""
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


def put_long_modules_first(items: list[pytest.Item]) -> None:
    """Order modules by their heaviest mark, so that no worker begins with the longest when the others have ended."""
    rank = {mark: number for number, mark in enumerate(("stack", "airflow", "real", "server"))}
    first: dict[Path, int] = {}
    for item in items:
        ranks = [rank.get(mark.name, len(rank)) for mark in item.iter_markers()]
        first[item.path] = min(first.get(item.path, len(rank)), *ranks, len(rank))
    items.sort(key=lambda item: first[item.path])


@contextmanager
def running(item: pytest.Item) -> Iterator[None]:
    """Hold what starts meanwhile against the marks of this test."""
    _now.append(item)
    try:
        yield
    finally:
        _now.remove(item)


def refuse_unmarked_starts() -> None:
    """Raise from now on where a test starts a program whose mark it does not carry."""
    sys.addaudithook(_check_start)


def _check_start(event: str, details: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _now:
        return
    words = details[1].split() if isinstance(details[1], str) else map(os.fsdecode, details[1])
    names = [Path(word).name for word in words]
    if {"version", "--version"} & set(names):
        return
    for program, mark in PROGRAMS.items():
        if _starts(names, program) and not _now[-1].get_closest_marker(mark):
            [fixture] = [name for name in MARKS if MARKS[name] == mark]
            raise AssertionError(f"the test starts {program}, but no fixture of it requests `{fixture}`: {names}")


def _starts(names: list[str], program: str) -> bool:
    """Whether a command runs the program: by itself, as a script or module of Python, or as a command of `updraft`."""
    name, _, command = program.partition(" ")
    if names[0] == "docker":  # what it runs, it runs in a container
        return name == "docker"
    if command:
        return command in names[1:] and any(each == "updraft" or "updraft.cli" in each for each in names)
    return name in names[:3]
