"""Examples to copy and paste: requests with curl and Python."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from updraft.model.casts import Cast
from updraft.model.reading import NONE, Reading

KEY_HEADER = "X-API-Key"
KEY_VARIABLE = "UPDRAFT_KEY"


def curl(url: str, body: Any, *, keys: bool) -> str:
    """Return a curl command for a POSIX shell that posts JSON."""
    return f"{_curl(url, 'application/json', keys)} \\\n  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def curl_csv(url: str, text: str, *, keys: bool) -> str:
    """Return a curl command that posts CSV and accepts CSV."""
    lines = " ".join(shlex.quote(line) for line in text.split("\n")[:-1])
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


def csv_of(rows: Sequence[Mapping[str, Any]], reading: Reading) -> str:
    """Return rows as delimited text with a header line, as the rules read it; null is an empty field."""
    out = io.StringIO()
    quote = None if reading.quote == NONE else reading.quote
    writer = csv.writer(
        out,
        delimiter=reading.delimiter,
        quotechar=quote,
        escapechar=reading.escape,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        lineterminator="\n",
    )
    for cells in (list(rows[0]), *(_cells(row, reading) for row in rows)):
        writer.writerow(cells if quote or reading.escape else [_bare(cell, reading.delimiter) for cell in cells])
    return out.getvalue()


def _curl(url: str, kind: str, keys: bool) -> str:
    key = f' -H "{KEY_HEADER}: ${KEY_VARIABLE}"' if keys else ""
    return f"curl -s {shlex.quote(url)} -H {shlex.quote(f'Content-Type: {kind}')}{key}"


def _cells(row: Mapping[str, Any], reading: Reading) -> list[Any]:
    return [_cell(value, reading.casts.get(name, ())) for name, value in row.items()]


def _cell(value: Any, casts: Sequence[Cast]) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and casts:
        return format(Decimal(repr(value)), "f").replace(".", "," if "decimal_comma" in casts else ".")
    return value


def _bare(cell: Any, delimiter: str) -> Any:
    """Return a cell without what it cannot hold where there are no quotes."""
    return cell.translate({ord(char): " " for char in f"{delimiter}\r\n"}) if isinstance(cell, str) else cell
