"""The lines of a YAML's keys and of a suite's columns, so that each message can name its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

Place = tuple[str, ...]  # keys and indices from the top of the file to a value
RESERVED = {
    "name": "is the file's name",
    "suite": "is the file in expectations/",
    "columns": "are in the suite",
    "configuration_sha256": "is computed",
}


@dataclass(frozen=True)
class Fault:
    """An error in a file, for a person to fix."""

    file: Path
    line: int | None
    message: str

    def format(self, root: Path) -> str:
        """Format it in one line; the file's path is relative to `root` if it is below it."""
        file = self.file.relative_to(root) if self.file.is_relative_to(root) else self.file
        return f"{file}{f':{self.line}' if self.line else ''}: {self.message}"


@dataclass(frozen=True)
class Document:
    """A YAML's keys and values, the line of each, and its faults as YAML."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, place: Sequence[str], message: str) -> Fault:
        """Return a fault at a place, or at the nearest enclosing place that is in the file."""
        prefixes = (tuple(place[:length]) for length in range(len(place), 0, -1))
        return Fault(
            self.path, next((self.lines[prefix] for prefix in prefixes if prefix in self.lines), None), message
        )


def read_document(path: Path) -> Document:
    """Read a YAML 1.2 mapping, where a bare yes or no is text; its faults: invalid YAML, duplicate keys."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.constructor.allow_duplicate_keys = True  # they are reported here, all of them and with both lines
        node = yaml.compose(path.read_text(encoding="utf-8-sig"))
        document = Document(path)
        document.faults.extend(_collect_lines(node, (), document, yaml.constructor))
        values = yaml.constructor.construct_document(node) if node else None
    except UnicodeDecodeError as error:
        return Document(path, faults=[Fault(path, None, f"not UTF-8: {error}")])
    except (YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-01
        mark = getattr(error, "problem_mark", None)
        message = " ".join(
            f"{getattr(error, 'context', None) or ''} {getattr(error, 'problem', None) or error}".split()
        )
        return Document(path, faults=[Fault(path, mark.line + 1 if mark else None, f"not YAML: {message}")])
    if not isinstance(values, dict):
        kind = "nothing" if values is None else type(values).__name__
        return Document(path, faults=[Fault(path, None, f"expected keys and values, found {kind}")])
    for key in RESERVED.keys() & values.keys():
        document.faults.append(document.fault((key,), f"{key}: not set here, {key} {RESERVED[key]}"))
    document.values.update({str(key): value for key, value in values.items() if key not in RESERVED})
    return document


def _collect_lines(node: Any, place: Place, document: Document, constructor: Any) -> Iterator[Fault]:
    """Record the line of each key and item below a node; yield its duplicate keys."""
    for key, word, child in _children(node, constructor):
        below, line = (*place, word), key.start_mark.line + 1
        if below in document.lines:
            message = f"{'.'.join(below)}: duplicate key, first on line {document.lines[below]}"
            yield Fault(document.path, line, message)
            continue
        document.lines[below] = line
        if len(below) < 12:  # an alias may contain itself
            yield from _collect_lines(child, below, document, constructor)


def _children(node: Any, constructor: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yield the nodes below a node: the node that marks the line, the key or index, and the node itself."""
    if isinstance(node, SequenceNode):
        yield from ((child, str(index), child) for index, child in enumerate(node.value))
    elif isinstance(node, MappingNode):
        for key, child in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                yield key, str(constructor.construct_object(key, deep=True)), child


def line_in_suite(suite: Path, column: str | None, message: str) -> int | None:
    """Return the first line that names a column in an expectation of its own, else in the column set.

    Without a column: the line in the parser's message, if any.
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
