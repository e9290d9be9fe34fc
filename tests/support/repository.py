"""A copy of the repository, for tests that add use cases."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from updraft.defaults import ROOT
from updraft.demo.rows import generate, write
from updraft.usecase import load

FOLDERS = ("include", "expectations", "dags", "plugins", "serving", "deploy")


def copy_repository(to: Path) -> Path:
    """Copy what runs use cases, with or without the local stack."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def add_watching_case(root: Path, name: str, rows: int, like: str = "vehicle_insurance") -> None:
    """Add a use case like a shipped one that trains once so many rows are new, and reads what came since the last.

    Its monitor runs once a third as many predictions are new.
    """
    yaml = (root / "include" / "usecases" / f"{like}.yaml").read_text()
    source = f"{{mongodb: {{collection: {name}, watermark: {{column: id}}}}}}\nschedule: {{rows: {rows}}}"
    lines = [line for line in yaml.splitlines() if not line.startswith("schedule:")]
    text = "\n".join(lines).replace(f"{{mongodb: {{collection: {like}}}}}", source)
    text = re.sub(r"^monitor:.*", f"monitor:\n  schedule: {{rows: {rows // 3}}}", text, flags=re.MULTILINE)
    assert source in text and "\n  schedule: " in text
    (root / "include" / "usecases" / f"{name}.yaml").write_text(f"{text}\n")
    shutil.copy(root / "expectations" / f"{like}.json", root / "expectations" / f"{name}.json")


def add_file_case(root: Path, name: str, like: str = "vehicle_insurance", rows: int = 1500) -> Path:
    """Add a use case like a shipped one, whose source is a file at a relative path; return the file."""
    collection, path = f"{{mongodb: {{collection: {like}}}}}", f"data/{name}.csv"
    yaml = (root / "include" / "usecases" / f"{like}.yaml").read_text()
    assert collection in yaml
    text = yaml.replace(collection, f"{{file: {{path: {path}}}}}")
    (root / "include" / "usecases" / f"{name}.yaml").write_text(text)
    shutil.copy(root / "expectations" / f"{like}.json", root / "expectations" / f"{name}.json")
    (root / "data").mkdir(exist_ok=True)
    return write(load(like), generate(load(like), rows, seed=1), root / path)
