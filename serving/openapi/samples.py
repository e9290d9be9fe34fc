"""Examples to copy and paste: requests with curl and Python."""

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
    """Return a curl command for a POSIX shell that posts JSON."""
    return f"{_curl(url, 'application/json', keys)} \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def curl_csv(url: str, rows: Sequence[Mapping[str, Any]], *, keys: bool) -> str:
    """Return a curl command that posts CSV and accepts CSV."""
    lines = " ".join(shlex.quote(line) for line in csv_of(rows).split("\n")[:-1])
    command = _curl(url, "text/csv", keys)
    return f"printf '%s\\n' {lines} |\n  {command} \\\n  -H 'Accept: text/csv' --data-binary @-"


def python(url: str, row: Mapping[str, Any], *, keys: bool) -> str:
    """Return a Python script that needs only the standard library."""
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
        "with urllib.request.urlopen(request) as response:",
        "    print(json.load(response))",
    ])


def feedback(url: str, prediction_id: str, label: Any, *, keys: bool) -> str:
    """Return a curl command that sends a true label."""
    return curl(url, {"prediction_id": prediction_id, "label": label}, keys=keys)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header line; null is an empty field."""
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
