"""A signature with a column of each kind, and a row that it accepts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.small_cases import date, integer, real, text
from updraft.model.columns import Column
from updraft.model.signature import Signature

COLUMNS = (
    integer("small", minimum=18, maximum=85),
    integer("any whole"),
    integer("coded", allowed=(1, 2, 152)),
    integer("coded in range", allowed=(1, 2, 152), maximum=100),
    real("amount", minimum=0.5, maximum=1e6),
    real("any real", nullable=False),
    real("region", allowed=(1.0, 2.5, 28.0)),
    text("kind", allowed=("Yes", "No", "> 2 Years", "Fräulein"), nullable=False),
    text("name", pattern="^[A-Z]", shortest=2, longest=5),
    text("free"),
    Column(name="flag", type="bool", nullable=False),
    date("on", earliest=datetime(2020, 1, 1), latest=datetime(2026, 1, 1)),
    text("new kind", allowed=("a", "b")),
    real("rough", minimum=0, maximum=10),
)
SIGNATURE = Signature(
    use_case="all_kinds", title="All kinds", candidate="none", columns=COLUMNS, id="id", target="y", split={},
    versions={}, example={}, warn_unseen=("new kind",), warn_out_of_range=("rough",),
)  # fmt: skip
GOOD: dict[str, Any] = {
    "small": 44, "any whole": -3, "coded": 152, "coded in range": 2, "amount": 12.25, "any real": 1e300 / 1e290,
    "region": 28.0, "kind": "> 2 Years", "name": "Ada", "free": "Grüße, 🚗", "flag": True, "on": "2024-02-29T08:00:00",
    "new kind": "a", "rough": 3,
}  # fmt: skip
