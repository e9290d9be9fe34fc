"""Rows of customers, some of whom leave."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 400


def base(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return rows with a target that depends on the columns, and on chance."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "customer_id": 1000 + np.arange(rows),
        "plan": random.choice(["basic", "plus", "pro"], rows),
        "age": random.integers(18, 90, rows),
        "spend": random.gamma(5, 20, rows).round(2),
    })
    odds = (frame["age"] - 60) / 15 + (frame["plan"] == "basic")
    frame["churned"] = np.where(random.random(rows) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return frame
