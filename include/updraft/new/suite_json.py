"""The suite of a guessed use case."""

from __future__ import annotations

import json

from updraft.new.draft import Draft
from updraft.new.guess_suite import guess_expectations


def suite_text(draft: Draft) -> str:
    """Return the suite, an expectation per line."""
    lines = (
        json.dumps(each, ensure_ascii=False, allow_nan=False) for each in guess_expectations(draft.columns, draft.spec)
    )
    name, entries = json.dumps(draft.name), ",\n    ".join(lines)
    return f'{{\n  "name": {name},\n  "expectations": [\n    {entries}\n  ]\n}}\n'
