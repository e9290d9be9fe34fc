"""Where shipped predictions are on S3. Shared by the service, which writes them, and by all who read them.

    <use case>/date=2026-11-29/<instance>-<first>-<last>.parquet            predictions, by the day of their request
    <use case>/errors/date=2026-11-29/<instance>-<first>-<last>.parquet     requests that ended in an error, likewise
    <use case>/feedback/date=2026-11-30/<instance>-<first>-<last>.parquet   true labels, by the day they came in
    _erasures/<id>.json, _erased/<id>/<instance>                            what is to be erased, and who knows of it
    _instances/<instance>, _ended/<instance>                                the services that ship here, that have ended

An instance is a service's prediction log. Its numbers of requests, and of labels, never come twice, so `<first>-<last>`
names the same rows for ever. No name of a use case begins with _.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from updraft.registry.s3 import BadRegistry, Bucket, key_for, s3_client, split_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VARIABLE = "SERVING_PREDICTIONS"
ERASURES, ERASED, INSTANCES, ENDED = "_erasures/", "_erased/", "_instances/", "_ended/"
RANGE_ID = "range"  # in an object's metadata: the random id under which its range was fixed

Kind = Literal["predictions", "feedback"]  # what is numbered: requests, and labels
KINDS: tuple[Kind, ...] = ("predictions", "feedback")
Folder = Literal["predictions", "errors", "feedback"]
FOLDERS: dict[Kind, tuple[Folder, ...]] = {"predictions": ("predictions", "errors"), "feedback": ("feedback",)}
_NAME = re.compile(r"date=(\d{4}-\d{2}-\d{2})/([0-9a-f]+)-([0-9]+)-([0-9]+)\.parquet")


@dataclass(frozen=True)
class Stored:
    """An object of shipped rows: its key, its day, its instance and the numbers it covers."""

    key: str
    day: date
    instance: str
    first: int
    last: int


def folder(use_case: str, kind: Folder) -> str:
    """Return the folder of a use case's predictions, errors or feedback; BadRegistry when the name is none."""
    return key_for(use_case, "" if kind == "predictions" else f"{kind}/")


def object_key(use_case: str, kind: Folder, day: date, instance: str, first: int, last: int) -> str:
    """Return the key of a range of rows of one day."""
    return f"{folder(use_case, kind)}date={day.isoformat()}/{instance}-{first:012d}-{last:012d}.parquet"


def stored(bucket: Bucket, use_case: str, kind: Folder, since: date | None = None) -> list[Stored]:
    """List the objects of a use case, of all days or `since` one, the oldest first; what is not ours is ignored."""
    base = folder(use_case, kind)
    # From the day before: SeaweedFS leaves out the folder that a listing is to start after, S3 does not.
    after = (since - timedelta(days=1)).isoformat() if since else ""
    found = []
    for key in bucket.keys(f"{base}date=", after):
        if match := _NAME.fullmatch(f"date={key}"):
            name, instance, first, last = match.groups()
            day = date.fromisoformat(name)
            if since is None or day >= since:
                found.append(Stored(f"{base}date={key}", day, instance, int(first), int(last)))
    return sorted(found, key=lambda each: (each.day, each.instance, each.first))


def day_of(at: float) -> date:
    """Return the day of a Unix time, in UTC."""
    return datetime.fromtimestamp(at, UTC).date()


def open_bucket(environ: Mapping[str, str], client: S3Client | None = None) -> Bucket | None:
    """Open the place that SERVING_PREDICTIONS names (s3://bucket/prefix), None without it; contacts nothing.

    SERVING_PREDICTIONS_ACCESS_KEY_ID and SERVING_PREDICTIONS_SECRET_ACCESS_KEY are a login of its own.
    """
    uri = environ.get(VARIABLE)
    if not uri:
        return None
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    own = {f"AWS_{name}": environ[f"{VARIABLE}_{name}"] for name in names if environ.get(f"{VARIABLE}_{name}")}
    try:
        place = split_uri(uri)
    except BadRegistry as error:
        raise BadRegistry(f"{VARIABLE}: {error}") from None
    if len(own) == 1:
        missing = next(name for name in names if f"AWS_{name}" not in own)
        raise BadRegistry(f"{VARIABLE}_{missing}: not set, though the other half of the login is")
    session = {"AWS_SESSION_TOKEN": ""} if own else {}
    return Bucket(client or s3_client({**environ, **session, **own}), *place)
