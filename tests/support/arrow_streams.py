"""Bodies in Arrow's stream format."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa


def arrow_stream(table: pa.Table, **options: Any) -> bytes:
    """Write a table as a stream of batches of two rows, with options of IpcWriteOptions."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return sink.getvalue()
