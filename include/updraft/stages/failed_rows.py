"""Copy the rows that make a dataset fail to a file, with their reasons, in one pass over the dataset."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.sources.source import Reject
from updraft.stages.ingest import quarantined_line
from updraft.stages.stage_folder import QUARANTINE

log = logging.getLogger(__name__)

BATCH = 25_000
MOST = 100_000  # rows that are copied: where a column changed its unit, every row fails


def quarantine(dataset: Path, rules: Sequence[tuple[str, npt.NDArray[np.uint8]]], out: Path) -> None:
    """Write the first rows that break a rule to `out/quarantine.jsonl`; `rules` pairs each with its rows, as bits."""
    if not rules:
        return
    failing = np.bitwise_or.reduce([bits for _, bits in rules])
    total = int(np.bitwise_count(failing).sum())
    start = copied = 0
    with (
        (out / QUARANTINE).open("w", encoding="utf-8", errors="backslashreplace") as lines,
        pq.ParquetFile(dataset) as parquet,
    ):
        for batch in parquet.iter_batches(BATCH):
            within = slice(start, start + len(batch))
            indices = np.flatnonzero(_unpacked(failing, within))[: MOST - copied]
            reasons = [(rule, _unpacked(bits, within)) for rule, bits in rules]
            for index, row in zip(indices, batch.take(pa.array(indices)).to_pylist(), strict=True):
                reason = "; ".join(rule for rule, broken in reasons if broken[index])
                lines.write(quarantined_line(Reject(f"row {start + index + 1}", row, reason)) + "\n")
            start, copied = within.stop, copied + len(indices)
            if copied == MOST:
                break
    some = f"{copied:,} of {total:,}" if copied < total else f"{total:,}"
    log.warning("%s rows that fail are in %s", some, out / QUARANTINE)


def _unpacked(bits: npt.NDArray[np.uint8], rows: slice) -> npt.NDArray[np.bool_]:
    first = rows.start // 8
    return np.unpackbits(bits[first : rows.stop // 8 + 1])[rows.start - first * 8 : rows.stop - first * 8].astype(bool)
