"""What the monitor found last: `monitor.json` beside the pointer, signed, for the service to show.

    <use case>/monitor.json                                   the last report, in short, and what later ones draw of it
    <use case>/monitor/<time>/report.html, report.json        the reports, the latest MAX_REPORTS of them

Only the monitor writes here, with the login and the key of a push. The service reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from updraft.registry.moves import Number, Sha256, Text
from updraft.registry.s3 import Bucket, VerificationError, key_for
from updraft.registry.signed_json import Schema, parse, reseal, seal, unseal
from updraft.registry.signing_keys import Keys

MONITOR, REPORTS = "monitor.json", "monitor/"
PAGE, JSON = "report.html", "report.json"
MAX_REPORTS = 50
# A signal and what follows it, as people read them.
SIGNALS = {
    "schema_break": "Schema break",
    "covariate": "Covariate shift",
    "prediction": "Prediction shift",
    "target": "Target shift",
    "performance": "Worse performance",
}
FOLLOWS = {"warn": "a warning", "retrain": "asks to train again", "roll_back": "asks to roll back"}
# What was found of the columns' distributions; "unknown" where too few rows could be compared.
DriftState = Literal["none", "found", "unknown"]
Count = Annotated[int, Field(ge=0)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]


class Signal(Schema):
    """What was found, what follows, and why."""

    signal: Text
    action: Literal["warn", "retrain", "roll_back"]
    reason: Text

    @property
    def title(self) -> str:
        """The signal as people read it."""
        return SIGNALS.get(self.signal, self.signal.replace("_", " "))

    @property
    def follows(self) -> str:
        """What follows, as people read it."""
        return FOLLOWS[self.action]


class MonitorState(Schema):
    """The last report in short: of which version, of how many rows and labels, and what was found.

    `report` is the folder of the report, `page_sha256` that of its page. `drift` says in words what `drift_state` is.
    `worst` are effect sizes of columns as multiples of their limits: 1 or more is drift. `history` are former reports,
    the oldest first, as `Point` has them.
    """

    name: str
    version: Number
    sequence: Count
    at: Time
    report: Annotated[str, Field(pattern=r"^[0-9TZ]{16,20}$")]
    page_sha256: Sha256
    run_url: Text | None = None
    rows: Count
    labels: Count
    refused: Count
    drift: Text
    drift_state: DriftState
    performance: Text
    metric: Text
    value: float | None = None
    promised: float | None = None
    found: list[Signal]
    worst: dict[str, float]
    history: list[dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_updraft(cls, content: Any) -> Any:
        """Add the `drift_state` that earlier versions of Updraft left to be read from the words of `drift`."""
        if not isinstance(content, dict) or "drift_state" in content:
            return content
        words, compared = str(content.get("drift", "")), "unknown"
        if words.startswith("no drift"):
            compared = "none"
        elif not words.startswith(("no rows to compare", "not enough rows to say anything")):
            compared = "found"
        return content | {"drift_state": compared}


def write(bucket: Bucket, keys: Keys, state: MonitorState) -> None:
    """Write the state in place of the last one, signed."""
    bucket.put(key_for(state.name, MONITOR), seal(state.model_dump(), keys, "monitor"))


def read(bucket: Bucket, keys: Keys, name: str) -> MonitorState | None:
    """Read the last state; None if there is none. Raises VerificationError."""
    place = f"{bucket}/{key_for(name, MONITOR)}"
    answer = bucket.get(key_for(name, MONITOR))
    if answer is None:
        return None
    state = parse(MonitorState, unseal(answer[0], keys, place, "monitor"), place)
    if state.name != name:
        raise VerificationError(f"{place} is a copy from {state.name}")
    return state


def sign(bucket: Bucket, keys: Keys, name: str) -> None:
    """Sign the state, if there is one, with the key of today."""
    read(bucket, keys, name)  # which raises for a copy of another one
    reseal(bucket, key_for(name, MONITOR), keys, "monitor")


def report_folder(name: str, report: str) -> str:
    """Return the place of a report."""
    return key_for(name, f"{REPORTS}{report}")


def prune(bucket: Bucket, name: str) -> None:
    """Delete the reports before the latest MAX_REPORTS."""
    files = list(bucket.keys(key_for(name, REPORTS)))  # not its folders: of some servers they outlive their files
    latest = sorted({file.partition("/")[0] for file in files})[-MAX_REPORTS:]
    for file in files:
        if file.partition("/")[0] not in latest:
            bucket.delete(key_for(name, f"{REPORTS}{file}"))
