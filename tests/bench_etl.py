"""Measure an ETL: rows in a second and the greatest memory of each stage. `make bench-etl` prints the table.

Each stage, and each load, is a process of its own. Memory is bounded where that of 4,000,000 rows is not ten times that
of 400,000. The second load finds each row as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.etl_cases import write_etl
from tests.support.mariadb import is_installed, mariadb_server
from tests.support.postgres import postgres_server
from tests.support.servers import mongo_server, s3_server, server
from updraft.addresses import from_environment
from updraft.etl.clean import clean
from updraft.etl.definitions import load as load_etl
from updraft.etl.extract import extract
from updraft.etl.load import load
from updraft.local_stack.servers import free_port
from updraft.sources import open_source

FEW, MANY = 400_000, 4_000_000
ITEMS = 20_000  # of DynamoDB, whose stand-in is slow
WIDTHS = (5, 12)
YAML = """\
title: Visits
source: {file: {path: data/rows.parquet}}
raw_columns: {seconds: float64, bought: str}
ID
clean:
  outliers: {price: {rule: iqr, factor: 3, then: clip}, minutes: {rule: quantile, high: 0.99, then: clip}}
  nulls: {seconds: {fill: 0}}
  derive: {minutes: seconds / 60}
  labels: {bought: {"yes": 1, "no": 0}}
load: [LOAD]
"""
TYPES = {"visit": "int64", "kind": "str", "price": "float64", "minutes": "float64", "bought": "int64"}
AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "eu-central-1"}


def main() -> None:
    """Clean rows and load them, and print the table."""
    print(f"{'stage':<34}{'columns':>8}{'rows':>11}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}", flush=True)
    with tempfile.TemporaryDirectory(prefix="updraft-bench-") as name:
        folder = Path(name)
        for rows in (ITEMS, FEW, MANY):
            for width in WIDTHS if rows > ITEMS else WIDTHS[:1]:
                root = prepare(folder / f"{rows}-{width}", rows, width)
                for stage in ("extract", "clean"):
                    show(stage, width, rows, measured(stage, root))
        for kind, block, environ, counts in stores(folder):
            for rows in counts:
                root = folder / f"{rows}-{WIDTHS[0]}"
                write(root, WIDTHS[0], block.replace("ROWS", str(rows)))
                for number in ("first", "second"):
                    found = measured("load", root, environ)
                    assert found["counts"] == ([rows, 0, 0] if number == "first" else [0, 0, rows]), found
                    show(f"{kind}, {number} load", WIDTHS[0], rows, found)


def show(stage: str, width: int, rows: int, found: dict[str, Any]) -> None:
    """Print a line of the table."""
    seconds = found["seconds"]
    print(
        f"{stage:<34}{width:>8}{rows:>11,}{seconds:>9.1f}{rows / seconds:>10,.0f}{found['megabytes']:>9.0f}", flush=True
    )


def measured(stage: str, root: Path, environ: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a stage in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, stage, str(root), json.dumps(environ or {})]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run(stage: str, root: Path, environ: dict[str, str]) -> None:
    """Run one stage and print how long it took, and how much memory."""
    etl, started, counts = load_etl("visits", root), time.monotonic(), None
    if stage == "extract":
        with open_source(etl.extracted, from_environment({})) as source:
            extract(etl, source, root / "extract")
    elif stage == "clean":
        clean(etl, root / "extract/dataset.parquet", root / "clean")
    else:
        done = load(etl, root / "clean/dataset.parquet", from_environment(environ), root / "load")
        counts = [done.new, done.changed, done.unchanged]
    seconds = time.monotonic() - started
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]  # getrusage's begins with the parent's
    print(json.dumps({"seconds": seconds, "megabytes": int(status.split()[0]) / 1024, "counts": counts}))


def stores(folder: Path) -> Iterator[tuple[str, str, dict[str, str], tuple[int, ...]]]:
    """Yield the kinds of store with their blocks, the variables that reach them, and how many rows they take."""
    with ExitStack() as stack:
        (folder / "mongo").mkdir()
        mongo = stack.enter_context(mongo_server(folder / "mongo"))
        yield "MongoDB", "{mongodb: {collection: rows_ROWS}}", {"MONGODB_URL": f"mongodb://{mongo}/bench"}, (FEW,)
    with postgres_server("bench") as postgres:
        yield "PostgreSQL", "{sql: {table: rows_ROWS}}", {"SQL_URL": postgres.url()}, (FEW, MANY)
    if is_installed():
        (folder / "mariadb").mkdir()
        with mariadb_server(folder / "mariadb") as url:
            yield "MariaDB", "{sql: {table: rows_ROWS}}", {"SQL_URL": url}, (FEW,)
    (folder / "s3").mkdir()
    with s3_server(folder / "s3") as environ:
        login = {name.lower(): environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        client: Any = boto3.client("s3", endpoint_url=environ["AWS_ENDPOINT_URL_S3"], region_name="us-east-1", **login)
        client.create_bucket(Bucket="bench")
        for kind in ("jsonl", "parquet"):
            yield f"S3, {kind}", f"{{s3: {{uri: s3://bench/{kind}, format: {kind}}}}}", environ, (FEW, MANY)
    port = free_port()
    with server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        environ = {**AWS, "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}
        make_table(environ["AWS_ENDPOINT_URL_DYNAMODB"])
        yield "DynamoDB (moto)", "{dynamodb: {table: rows}}", environ, (ITEMS,)


def make_table(url: str) -> None:
    """Make the DynamoDB table."""
    client: Any = boto3.client(
        "dynamodb", endpoint_url=url, region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="y"
    )
    client.create_table(
        TableName="rows",
        KeySchema=[{"AttributeName": "visit", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "visit", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )


def prepare(root: Path, rows: int, width: int) -> Path:
    """Write the ETL and its file."""
    write(root, width, "{mongodb: {collection: rows}}")
    pq.write_table(frame(rows, width), root / "data/rows.parquet", row_group_size=50_000)
    return root


def write(root: Path, width: int, block: str) -> None:
    """Write the ETL's two files."""
    more = {f"more_{number}": "float64" for number in range(width - len(TYPES))}
    identity = "" if os.environ.get("WITHOUT_ID") else "id: visit"
    write_etl(root, ("ID", identity), ("LOAD", block), yaml=YAML, types=TYPES | more)


def frame(rows: int, width: int) -> pa.Table:
    """Make rows of a file."""
    random = np.random.default_rng(0)
    seconds = random.exponential(300, rows)
    table = pa.table({
        "visit": np.arange(rows),
        "kind": pa.array(["direct", "mail", "search engine"]).take(pa.array(random.integers(0, 3, rows))),
        "price": random.lognormal(3, 1, rows),
        "seconds": pa.array(seconds, mask=seconds < 5),
        "bought": pa.array(["no", "yes"]).take(pa.array(random.integers(0, 2, rows))),
    })  # fmt: skip
    for number in range(width - len(TYPES)):
        table = table.append_column(f"more_{number}", pa.array(random.normal(size=rows)))
    return table


if __name__ == "__main__":
    if len(sys.argv) == 4:
        run(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        main()
