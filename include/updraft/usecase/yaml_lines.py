"""Where the keys of a YAML and the columns of a suite stand in their files, so that a fault can name its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str, ...]  # keys and indices from the top of the file to a value
OURS = {"name": "is the file's name", "suite": "is the file in expectations/", "columns": "are in the suite"}
BLOCKS_WITH_FLAGS = {"deduplicate", "split", "tfidf", "candidates"}  # where yes and no may be meant as they are read


@dataclass(frozen=True)
class Fault:
    """What a person must mend, and where."""

    file: Path
    line: int | None
    message: str

    def format(self, root: Path) -> str:
        """Write it in one line; the file is named relative to `root` where it lies below it."""
        file = self.file.relative_to(root) if self.file.is_relative_to(root) else self.file
        return f"{file}{f':{self.line}' if self.line else ''}: {self.message}"


@dataclass(frozen=True)
class Document:
    """A YAML's keys and values, the line of each, and what is wrong with it as YAML."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: Sequence[str], message: str) -> Fault:
        """Make a fault of a place, or of the nearest one around it that stands in the file."""
        cuts = (tuple(place[:length]) for length in range(len(place), 0, -1))
        return Fault(self.path, next((self.lines[cut] for cut in cuts if cut in self.lines), None), message)


def document(path: Path) -> Document:
    """Read a YAML of keys and values; a fault where it is none, sets a key twice, or means text by a bare yes or no."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        found = Document(path)
        found.faults.extend(_walked(node, (), found, loader))
        values = loader.construct_document(node) if node else None
    except UnicodeDecodeError as error:
        return Document(path, faults=[Fault(path, None, f"not UTF-8: {error}")])
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        mark = getattr(error, "problem_mark", None)
        said = " ".join(f"{getattr(error, 'context', None) or ''} {getattr(error, 'problem', None) or error}".split())
        return Document(path, faults=[Fault(path, mark.line + 1 if mark else None, f"not YAML: {said}")])
    if not isinstance(values, dict):
        kind = "nothing" if values is None else type(values).__name__
        return Document(path, faults=[Fault(path, None, f"expected keys and values, found {kind}")])
    for key in OURS.keys() & values.keys():
        found.faults.append(found.fault((key,), f"{key}: not set here, {key} {OURS[key]}"))
    found.values.update({str(key): value for key, value in values.items() if key not in OURS})
    return found


def _walked(node: Any, place: Place, found: Document, loader: yaml.SafeLoader) -> Iterator[Fault]:
    """Note the line of each key and item below a node; yield what is wrong with them."""
    if _trap(node) and place and place[0] not in BLOCKS_WITH_FLAGS:
        yield found.fault(place, _said(".".join(place), node))
    for key, word, child in _children(node, loader):
        below = (*place, word)
        if _trap(key):
            yield Fault(found.path, key.start_mark.line + 1, _said(".".join((*place, key.value)), key))
        if below in found.lines:
            told = f"{'.'.join(below)}: set again, first on line {found.lines[below]}"
            yield Fault(found.path, key.start_mark.line + 1, told)
            continue
        found.lines[below] = key.start_mark.line + 1
        if len(below) < 12:  # an alias may hold itself
            yield from _walked(child, below, found, loader)


def _children(node: Any, loader: yaml.SafeLoader) -> Iterator[tuple[Any, str, Any]]:
    """Yield the nodes below a node, each with the node that marks its line and the word that leads to it."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((child, str(index), child) for index, child in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                yield key, str(loader.construct_object(key, deep=True)), child


def _trap(node: Any) -> bool:
    """Tell whether a bare word such as no is a truth value to YAML 1.1."""
    return getattr(node, "tag", "") == "tag:yaml.org,2002:bool" and node.value.lower() not in ("true", "false")


def _said(where: str, node: Any) -> str:
    truth = str(node.value.lower() in ("yes", "on", "y")).lower()
    return f'{where}: YAML reads a bare {node.value} as {truth}; write "{node.value}" in quotes where text is meant'


def line_in_suite(suite: Path, column: str | None, message: str) -> int | None:
    """Find the line that first speaks of a column in an expectation of its own, else in the column set.

    Without a column: the line that a parser's own message names.
    """
    if column is None:
        named = re.search(r"at line (\d+)", message)
        return int(named[1]) if named else None
    quoted = json.dumps(column), json.dumps(column, ensure_ascii=False)
    lines = suite.read_text(encoding="utf-8", errors="replace").splitlines()
    for mark in ('"column": ', '"column":', ""):
        for number, line in enumerate(lines, start=1):
            if any(f"{mark}{word}" in line for word in quoted):
                return number
    return None
