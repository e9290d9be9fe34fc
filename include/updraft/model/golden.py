"""Golden rows: what a model answered when it was evaluated, so that the service can see that it answers the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from updraft.model.model import Model
from updraft.model.signature import BadRow, Signature

GOLDEN = "golden.json"
ROWS, DRAWS = 20, 200
TEXTS, LONGEST = 10_000, 100  # texts that are looked at; words in a text
MIN_SHARED = 3  # rows that must have a value or a word: what fewer have is one person's
RTOL, ATOL = 1e-6, 1e-9  # another processor, or another build of a library, may differ in a sum's last bits


class NotReproduced(ValueError):
    """A model does not answer its golden rows as it did when it was evaluated."""


def make_rows(
    signature: Signature, frame: pd.DataFrame, known: Sequence[pd.DataFrame], seed: int
) -> list[dict[str, Any]]:
    """Make up to 20 rows, as JSON has them: the example, then rows whose columns are each drawn from `frame` alone.

    None of those equals a row of `known` in what is not private. Private columns hold the example's value, and
    texts are made of words that three texts or more have. Only rows that the signature takes are returned.
    """
    random = np.random.default_rng(seed)
    names = [name for name in signature.names if name not in signature.private]
    made = [signature.example]
    if names and len(frame):
        mixed = pd.DataFrame({name: _column(signature, frame[name], random) for name in names}).drop_duplicates()
        mixed = mixed[~_hashed(mixed).isin(pd.concat([_hashed(rows[names]) for rows in known]))]
        columns = {name: [to_json_value(value) for value in mixed[name]] for name in names}
        made += [signature.example | {name: columns[name][row] for name in names} for row in range(len(mixed))]
    return [row for row in made if _fits(signature, row)][:ROWS]


def write(model: Model, rows: list[dict[str, Any]], out: Path) -> None:
    """Write `out/golden.json`: rows, and the scores that the model gives them, of which no bit is lost."""
    scores = model.scores(model.signature.frame(rows)).tolist() if rows else []
    told = json.dumps({"rows": rows, "scores": scores}, indent=2, allow_nan=False, ensure_ascii=False)
    (out / GOLDEN).write_text(told + "\n", encoding="utf-8")


def replay(model: Model, folder: Path) -> None:
    """Let a model answer the golden rows in its version's folder; a version that has none passes.

    Raises NotReproduced, naming the row, when a score is not what it was, beyond what another processor may change.
    """
    if not (folder / GOLDEN).is_file():
        return
    told = json.loads((folder / GOLDEN).read_bytes())
    if not told["rows"]:
        return
    try:
        found = model.scores(model.signature.frame(told["rows"]))
    except BadRow as error:
        raise NotReproduced(f"the signature does not take golden row {error.errors[0]['pointer']}") from None
    expected = np.asarray(told["scores"], dtype="float64")
    if found.shape != expected.shape:
        raise NotReproduced(f"golden rows: expected scores of shape {expected.shape}, found {found.shape}")
    odd = np.argwhere(~np.isclose(found, expected, RTOL, ATOL))
    if len(odd):
        place = tuple(odd[0])
        label = f", label {model.signature.labels[place[1]].name!r}" if len(place) > 1 else ""
        scores = f"expected {float(expected[place])!r}, found {float(found[place])!r}"
        raise NotReproduced(f"golden row {place[0]}{label}: {scores}")


def to_json_value(value: Any) -> Any:
    """Return a value of a frame as JSON has it, exactly: dates as ISO 8601, nothing as null."""
    if pd.isna(value):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else getattr(value, "item", lambda: value)()


def _column(signature: Signature, values: pd.Series[Any], random: np.random.Generator) -> pd.Series[Any]:
    taken = values.iloc[random.integers(len(values), size=DRAWS)].reset_index(drop=True)
    if values.name not in signature.text:
        return taken
    words = _shared_words(values.iloc[random.permutation(len(values))[:TEXTS]])
    if not words:
        return pd.Series([signature.example[str(values.name)]] * DRAWS, dtype=values.dtype)
    lengths = [None if pd.isna(text) else len(text.split()) for text in taken]
    texts = [None if n is None else " ".join(random.choice(words, min(max(n, 1), LONGEST))) for n in lengths]
    return pd.Series(texts, dtype=values.dtype)


def _shared_words(texts: pd.Series[Any]) -> list[str]:
    """List the words that several texts have: what one person alone wrote, such as a name, is none of them."""
    counts = Counter(word for text in texts.dropna() for word in set(text.split()))
    return sorted(word for word, count in counts.items() if count >= MIN_SHARED)


def _hashed(frame: pd.DataFrame) -> pd.Series[Any]:
    return pd.util.hash_pandas_object(frame, index=False)


def _fits(signature: Signature, row: dict[str, Any]) -> bool:
    try:
        signature.check([row])
    except BadRow:
        return False
    return True
