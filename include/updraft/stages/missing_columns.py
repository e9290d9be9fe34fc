"""Columns of the suite that a source no longer has: one cause, and the setting that may mend it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence

SIMILAR = 0.6  # of difflib's ratio: Age and AgeYears are, Age and Income are not


def describe_missing(missing: Sequence[str], new: Sequence[str]) -> str:
    """Say which columns are missing, and which new one may be each of them under another name."""
    pairs = _renamed(missing, new)
    parts = [
        f"{name!r} is missing" + (f", {pairs[name]!r} is new: renamed?" if name in pairs else "") for name in missing
    ]
    if not pairs:
        return "; ".join(parts)
    rename = ", ".join(f"{_yaml(theirs)}: {_yaml(ours)}" for ours, theirs in pairs.items())
    return f"{'; '.join(parts)} `read: {{rename: {{{rename}}}}}`"


def _renamed(missing: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Pair missing columns with the new ones that they resemble most, each once; a lone pair needs no likeness."""
    if len(missing) == len(new) == 1:
        return {missing[0]: new[0]}
    likeness = sorted(((_likeness(ours, theirs), ours, theirs) for ours in missing for theirs in new), reverse=True)
    pairs: dict[str, str] = {}
    for ratio, ours, theirs in likeness:
        if ratio >= SIMILAR and ours not in pairs and theirs not in pairs.values():
            pairs[ours] = theirs
    return {name: pairs[name] for name in missing if name in pairs}


def _likeness(ours: str, theirs: str) -> float:
    one, other = (re.sub(r"[\W_]", "", name).lower() for name in (ours, theirs))
    shorter, longer = sorted((one, other), key=len)
    if len(shorter) > 2 and (longer.startswith(shorter) or longer.endswith(shorter)):
        return 0.9  # a unit, a year or a prefix was added
    return difflib.SequenceMatcher(None, one, other).ratio()


def _yaml(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d_]\w*", name) else json.dumps(name, ensure_ascii=False)
