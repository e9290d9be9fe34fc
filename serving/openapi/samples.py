"""What can be pasted: a row as curl, Python and CSV ask for it."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

KEY_HEADER = "X-API-Key"
KEY_VARIABLE = "UPDRAFT_KEY"


def curl(url: str, body: Any, *, keys: bool) -> str:
    """Ask by curl with a body of JSON, in a POSIX shell."""
    return f"{_curl(url, 'application/json', keys)} \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def curl_csv(url: str, rows: Sequence[Mapping[str, Any]], *, keys: bool) -> str:
    """Ask by curl with rows of CSV, and for CSV."""
    lines = " ".join(shlex.quote(line) for line in csv_of(rows).split("\n")[:-1])
    asked = _curl(url, "text/csv", keys)
    return f"printf '%s\\n' {lines} |\n  {asked} \\\n  -H 'Accept: text/csv' --data-binary @-"


def python(url: str, row: Mapping[str, Any], *, keys: bool) -> str:
    """Ask from Python with nothing but its standard library."""
    headers = "{'Content-Type': 'application/json'}"
    if keys:
        headers = f"{{'Content-Type': 'application/json', {KEY_HEADER!r}: os.environ[{KEY_VARIABLE!r}]}}"
    return "\n".join([
        "import json",
        *(["import os"] if keys else []),
        "import urllib.request",
        "",
        "row = {",
        *(f"    {name!r}: {value!r}," for name, value in row.items()),
        "}",
        f"headers = {headers}",
        f"request = urllib.request.Request({url!r}, json.dumps(row).encode(), headers)",
        "with urllib.request.urlopen(request) as answer:",
        "    print(json.load(answer))",
    ])


def feedback(url: str, prediction_id: str, label: Any, *, keys: bool) -> str:
    """Tell by curl what was true."""
    return curl(url, {"prediction_id": prediction_id, "label": label}, keys=keys)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV: a header line, null as nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _curl(url: str, kind: str, keys: bool) -> str:
    key = f' -H "{KEY_HEADER}: ${KEY_VARIABLE}"' if keys else ""
    return f"curl -s {shlex.quote(url)} -H {shlex.quote(f'Content-Type: {kind}')}{key}"


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
