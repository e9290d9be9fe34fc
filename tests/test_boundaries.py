"""Imports run one way. The arrows stand here as data; whoever adds one has to add it here too."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from updraft.usecase import ROOT

SHARED = {"updraft.errors", "updraft.suite", "updraft.model", "updraft.registry", "updraft.bucket", "updraft.contents"}
SHARED |= {"updraft.keys", "updraft.pointer", "updraft.signature", "updraft.features", "updraft.run_params"}
SHARED |= {"updraft.api_keys", "updraft.golden"}
HEAVY = ("pandas", "sklearn", "great_expectations", "pyarrow", "matplotlib", "pymongoarrow", "joblib")


def modules(*folders: str) -> list[tuple[str, Path]]:
    paths = [(folder, path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [(".".join(path.relative_to(ROOT / folder).with_suffix("").parts), path) for folder, path in paths]


def python(script: str, cwd: Path = ROOT) -> list[str]:
    """Run a script in a fresh interpreter and give the words it prints."""
    folders = os.pathsep.join(str(ROOT / folder) for folder in ("", "include", "plugins"))
    environ = {**os.environ, "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Name every module that a file imports; with `from a import b`, both `a` and `a.b`."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def ours(found: set[str]) -> set[str]:
    known = {name for name, _ in modules("include")}
    return found & known - {"updraft.__init__"}


@pytest.mark.parametrize(
    ("name", "path"), modules("include"), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_package_knows_nothing_of_airflow_flask_or_whoever_uses_it(name: str, path: Path) -> None:
    tops = {each.split(".")[0] for each in imports(path)}
    assert not tops & {"airflow", "flask", "serving", "dags", "connections"}, name


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_the_service_shares_imports_only_what_is_shared(name: str) -> None:
    path = ROOT / "include" / Path(*name.split(".")).with_suffix(".py")
    assert ours(imports(path)) <= SHARED


def test_configuration_is_read_without_anything_heavy() -> None:
    """Airflow's dag-processor reads it every few seconds."""
    loaded = python(
        "import sys; from updraft.usecase import load, paths; [load(p.stem) for p in paths()]; print(*sys.modules)"
    )
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    ("name", "path"), modules("serving"), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_service_imports_the_shared_modules_and_no_training(name: str, path: Path) -> None:
    found = imports(path)
    assert ours(found) <= SHARED, name
    assert not {each.split(".")[0] for each in found} & {
        "airflow",
        "great_expectations",
        "pymongo",
        "dags",
        "connections",
    }


def test_the_service_runs_without_airflow_and_great_expectations() -> None:
    loaded = python("import sys, serving.app, serving.shelf; print(*sys.modules)")
    assert not {"airflow", "great_expectations", "pymongo", "matplotlib"} & set(loaded)


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_imports_nothing_heavy(path: Path) -> None:
    """Every task parses its DAG file anew: what is imported at its top is paid for by each of them."""
    loaded = python(f"import sys, runpy; runpy.run_path({str(path)!r}); print(*sys.modules)")
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    ("name", "path"),
    modules("include", "plugins", "serving", "dags"),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nobody_imports_dags_or_the_service(name: str, path: Path) -> None:
    others = {each.split(".")[0] for each in imports(path)} - {name.split(".")[0]}
    assert not others & {"dags", "training"}
    assert "serving" not in others or path.is_relative_to(ROOT / "serving")


def test_importing_a_module_starts_nothing(tmp_path: Path) -> None:
    """No clock, no network, no folder at import: an artifact's path must not depend on when a module was loaded."""
    names = [name for name, _ in modules("include") if name != "updraft.__init__"]
    script = "\n".join(f"import {name}" for name in names) + "\nimport threading; print(threading.active_count())"
    assert python(script, tmp_path) == ["1"]
    assert not list(tmp_path.iterdir())
