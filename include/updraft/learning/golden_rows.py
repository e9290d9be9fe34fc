"""Golden rows: inputs that the signature accepts, drawn so that they are nobody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from updraft.model.signature import BadRow, Signature

MAX_ROWS, DRAWS = 20, 200  # more draws than rows, because duplicates and invalid rows are dropped
MAX_TEXTS, MAX_WORDS = 10_000, 100  # texts whose words are counted; words in a synthetic text
MIN_SHARED = 3  # rows that must share a value or a word; what fewer rows have may identify a person


def make_rows(
    signature: Signature, frame: pd.DataFrame, known: Sequence[pd.DataFrame], seed: int
) -> list[dict[str, Any]]:
    """Return up to 20 JSON rows: the example, then synthetic rows, each column of which is drawn independently.

    No synthetic row equals a row of `known` in its non-private columns. Private columns hold the example's value;
    texts consist of words that MIN_SHARED texts or more contain. Only rows that the signature accepts are returned.
    """
    random = np.random.default_rng(seed)
    names = [name for name in signature.names if name not in signature.private]
    rows = [signature.example]
    if names and len(frame):
        mixed = pd.DataFrame({name: _column(signature, frame[name], random) for name in names}).drop_duplicates()
        mixed = mixed[~_hashed(mixed).isin(pd.concat([_hashed(other[names]) for other in known]))]
        columns = {name: [to_json_value(value) for value in mixed[name]] for name in names}
        rows += [signature.example | {name: columns[name][row] for name in names} for row in range(len(mixed))]
    return [row for row in rows if _is_valid(signature, row)][:MAX_ROWS]


def to_json_value(value: Any) -> Any:
    """Convert a frame's value to JSON without loss: dates to ISO 8601, missing values to null."""
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else getattr(value, "item", lambda: value)()


def _column(signature: Signature, values: pd.Series[Any], random: np.random.Generator) -> pd.Series[Any]:
    drawn = values.iloc[random.integers(len(values), size=DRAWS)].reset_index(drop=True)
    if values.name not in signature.text:
        return drawn
    words = _shared_words(values.iloc[random.permutation(len(values))[:MAX_TEXTS]])
    if not words:
        return pd.Series([signature.example[str(values.name)]] * DRAWS, dtype=values.dtype)
    lengths = [None if pd.isna(text) else len(text.split()) for text in drawn]
    texts = [None if n is None else " ".join(random.choice(words, min(max(n, 1), MAX_WORDS))) for n in lengths]
    return pd.Series(texts, dtype=values.dtype)


def _shared_words(texts: pd.Series[Any]) -> list[str]:
    """List the words that several texts contain, which excludes what only one person wrote, such as a name."""
    counts = Counter(word for text in texts.dropna() for word in set(text.split()))
    return sorted(word for word, count in counts.items() if count >= MIN_SHARED)


def _hashed(frame: pd.DataFrame) -> pd.Series[Any]:
    return pd.util.hash_pandas_object(frame, index=False)


def _is_valid(signature: Signature, row: dict[str, Any]) -> bool:
    try:
        signature.check([row], plain=True)
    except BadRow:
        return False
    return True
