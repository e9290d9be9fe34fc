"""Measure the sources: rows in a second and the greatest memory. `make bench-sources` prints the table.

Each read is a process of its own. Memory is flat where that of 4,000,000 rows is about that of 400,000.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import sqlalchemy as sa

from tests.support.kafka import Broker
from tests.support.mariadb import is_installed, mariadb_server
from tests.support.postgres import postgres_server
from tests.support.small_cases import date, integer, real, small_case, text
from tests.support.web_server import Answer, Request, web_server
from updraft.addresses import Address, from_environment
from updraft.sources import open_source
from updraft.sql_engine import sql_engine

FEW, MANY = 400_000, 4_000_000
MESSAGES = 100_000  # the mock broker keeps 5 MB of a partition
COLUMNS = [integer("id"), integer("age"), real("spend"), text("plan"), text("city"), date("since"), integer("churned")]
SQL = (
    "SELECT {n} AS id, {n} % 80 AS age, {n} / 7.0 AS spend, 'plan' AS plan, 'a city' AS city, "
    "{day} AS since, {n} % 2 AS churned FROM {rows}"
)
PAGE = 5_000


def main() -> None:
    """Make the rows, read them, print the table."""
    print(f"{'source':<24}{'rows':>10}{'rows/s':>10}{'peak MB':>9}")
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as folder:
        for kind, source, environ in places(Path(folder)):
            for rows in {"kafka": (MESSAGES,), "rest": (FEW,)}.get(kind, (FEW, MANY)):
                found = measured(
                    {name: str(value).replace("{rows}", str(rows)) for name, value in source.items()}, environ
                )
                assert found["rows"] == rows, found
                print(f"{kind:<24}{rows:>10,}{rows / found['seconds']:>10,.0f}{found['megabytes']:>9.0f}", flush=True)


def measured(source: dict[str, str], environ: dict[str, str]) -> dict[str, Any]:
    """Read a source in a process of its own."""
    kind = source.pop("kind")
    command = [sys.executable, "-m", __spec__.name, json.dumps({kind: source}), json.dumps(environ)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read(source: dict[str, Any], environ: dict[str, str]) -> None:
    """Read all rows and print how long it took, and how much memory."""
    started, rows = time.monotonic(), 0
    with open_source(small_case(COLUMNS, source=source, id="id"), from_environment(environ)) as opened:
        for batch in opened.batches():
            rows += batch.table.num_rows
    seconds = time.monotonic() - started
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]  # getrusage's begins with the parent's
    megabytes = int(status.split()[0]) / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": megabytes}))


def places(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Yield the kinds with their source blocks, in which {rows} stands for the number of rows, and their addresses."""
    for rows in (FEW, MANY):
        table = frame(rows)
        pyarrow.csv.write_csv(table, folder / f"{rows}.csv")
        pq.write_table(table, folder / f"{rows}.parquet")
    for ending in ("csv", "parquet"):
        yield f"file, .{ending}", {"kind": "file", "path": f"{folder}/{{rows}}.{ending}"}, {}
    with postgres_server("bench") as postgres:
        fill(postgres.url(), "generate_series(1, {rows}) AS n", "TIMESTAMP '2026-01-31'", "n")
        yield "sql, PostgreSQL", {"kind": "sql", "table": "rows_{rows}"}, {"SQL_URL": postgres.url()}
    if is_installed():
        (folder / "mariadb").mkdir()
        with mariadb_server(folder / "mariadb") as url:
            fill(url, "seq_1_to_{rows}", "CAST('2026-01-31' AS DATETIME)", "seq")
            yield "sql, MariaDB", {"kind": "sql", "table": "rows_{rows}"}, {"SQL_URL": url}
    broker, lines = Broker(), [json.dumps(row, default=str).encode() for row in frame(PAGE).to_pylist()]
    for start in range(0, MESSAGES, PAGE):
        broker.send("rows", *lines, partition=start // PAGE % 4)
    yield "kafka", {"kind": "kafka", "topic": "rows"}, {"KAFKA_URL": broker.url}
    rows = [json.dumps(row, default=str) for row in frame(FEW).to_pylist()]
    pages = [f"[{','.join(rows[start : start + PAGE])}]".encode() for start in range(0, FEW, PAGE)]

    def api(request: Request) -> Answer:
        number = int(request.path.rpartition("=")[2])
        return Answer(pages[number - 1] if number <= len(pages) else b"[]")

    with web_server(api) as web:
        yield "rest", {"kind": "rest", "url": f"{web.url}/rows", "pages": json.dumps({"by": "number"})}, {}


def fill(url: str, rows: str, day: str, number: str) -> None:
    """Make the tables of a database."""
    with sql_engine(Address("bench", url)) as engine, engine.begin() as connection:
        for count in (FEW, MANY):
            select = SQL.format(n=number, day=day, rows=rows.format(rows=count))
            connection.execute(sa.text(f"CREATE TABLE rows_{count} AS {select}"))


def frame(rows: int) -> pa.Table:
    """Make rows of a file."""
    ids = np.arange(1, rows + 1)
    day = np.full(rows, np.datetime64("2026-01-31", "us"))
    texts = pa.array(["plan"]).take(pa.array(np.zeros(rows, "int64")))
    return pa.table({
        "id": ids, "age": ids % 80, "spend": ids / 7, "plan": texts, "city": texts, "since": day, "churned": ids % 2,
    })  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 3:
        block = json.loads(sys.argv[1])
        for settings in block.values():
            if "pages" in settings:
                settings["pages"] = json.loads(settings["pages"])
        read(block, json.loads(sys.argv[2]))
    else:
        main()
