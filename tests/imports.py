"""Measure the tree: who imports whom, by file and by room. `python -m tests.imports` prints the figures.

A room is a folder, or a single file that stands beside the folders. Every import counts: at the top of a file, in a
function, and under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Bottom up: a room imports only rooms that stand before it.
UPDRAFT = (
    *("errors", "defaults", "version", "addresses", "sql_engine", "api_keys", "airflow_client", "regex_texts"),
    *("model", "registry", "trackers", "predictions", "run_params", "usecase", "datasets"),
    *("sources", "destinations", "learning", "monitoring", "stages", "etl", "new", "demo"),
    *("local_stack", "compose_secrets", "cli"),
)
SERVING = (
    *("server", "body", "models", "prediction_log", "metrics", "predict", "training", "openapi", "pages"),
    *("settings", "shipper", "app", "wsgi"),
)
SHARED = {"errors", "api_keys", "airflow_client", "model", "registry", "predictions", "run_params"}  # with the service
Graph = Mapping[str, set[str]]


def modules(*folders: str) -> dict[str, Path]:
    """Name every module below these folders of the repository; a package by its `__init__`."""
    found = {}
    for folder in folders:
        base = ROOT / folder if folder in ("include", "plugins", "dags") else ROOT
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, top_level_only: bool = False) -> frozenset[str]:
    """Name every module that a file imports; with `from a import b`, both `a` and `a.b`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def graph(files: Mapping[str, Path]) -> Graph:
    """Return the modules that each module imports, of those given. `from a import b` is an import of `a.b` alone."""
    known = {}
    for name, path in files.items():
        named = imports(path) & files.keys()
        known[name] = {each for each in named if not any(other.startswith(f"{each}.") for other in named)} - {name}
    return known


def room(module: str) -> str:
    """Name the room of a module: `updraft.model.columns` stands in `updraft.model`."""
    return ".".join(module.split(".")[:2])


def rooms(arrows: Graph) -> Graph:
    """Return the rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for module, imported in arrows.items():
        found.setdefault(room(module), set()).update(room(each) for each in imported)
    return {name: others - {name} for name, others in found.items()}


def circles(arrows: Graph) -> list[list[str]]:
    """List what imports itself by way of others: the strongly connected parts of more than one node."""
    reach = {name: set(_reached(arrows, name)) for name in arrows}
    parts = {tuple(sorted({name} | {other for other in reach[name] if name in reach[other]})) for name in arrows}
    return sorted(list(part) for part in parts if len(part) > 1)


def back_arrows(arrows: Graph, order: tuple[str, ...], top: str) -> list[str]:
    """List the imports of a room that stands later in the order, and the rooms that the order does not name."""
    rank = {f"{top}.{name}": number for number, name in enumerate(order)}
    inside = {name: others for name, others in rooms(arrows).items() if name.startswith(f"{top}.")}
    known = {name: [other for other in others if other in rank] for name, others in inside.items() if name in rank}
    later = [f"{name} → {other}" for name, others in known.items() for other in others if rank[other] > rank[name]]
    return sorted([*later, *(inside.keys() - rank.keys())])


def _reached(arrows: Graph, start: str) -> Iterator[str]:
    seen, waiting = set[str](), list(arrows.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += arrows.get(name, ())


def _functions(path: Path) -> list[int]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.end_lineno - node.lineno + 1 for node in ast.walk(tree) if isinstance(node, kinds) and node.end_lineno]


def main() -> None:
    """Print the figures."""
    files = modules("include", "serving", "plugins", "dags")
    arrows = graph(files)
    inside = rooms(arrows)
    sizes = [len(path.read_text(encoding="utf-8").splitlines()) for path in files.values()]
    functions = sorted(lines for path in files.values() for lines in _functions(path))
    print(f"{len(files)} files, {sum(sizes)} lines: median {statistics.median(sizes):g}, longest {max(sizes)}")
    print(f"{len(functions)} functions: median {statistics.median(functions):g} lines, longest {functions[-1]}")
    print(f"{len(inside)} rooms, {sum(map(len, inside.values()))} arrows between them")
    print(f"circles of files: {circles(arrows) or 'none'}")
    print(f"circles of rooms: {circles(inside) or 'none'}")
    back = back_arrows(arrows, UPDRAFT, "updraft") + back_arrows(arrows, SERVING, "serving")
    print(f"imports of a higher room: {back or 'none'}")


if __name__ == "__main__":
    main()
