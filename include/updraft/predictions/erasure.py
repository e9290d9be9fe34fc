"""An erasure: which rows are to be removed. The service's small processes read it, too, so it imports little.

It stays on S3 for as long as a log may come back, so it does not hold the value itself, which may name a person, but
a salted hash. Whoever has the erasure and guesses the value can still tell that the guess is right.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Erasure:
    """Rows of a use case whose feature `column` has a value, of requests until the Unix time `until`.

    `text` is the hash of the value as a text, `number` as a number, empty where it is none.
    """

    id: str
    use_case: str
    column: str
    salt: str
    text: str
    number: str
    until: float

    def matches(self, features: Mapping[str, Any], at: float) -> bool:
        """Return whether a row with these features is to be erased."""
        if at > self.until or self.column not in features:
            return False
        found = features[self.column]
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return _hash(self.salt, repr(float(found))) == self.number
        return _hash(self.salt, found if isinstance(found, str) else json.dumps(found)) == self.text


def new(use_case: str, column: str, value: str) -> Erasure:
    """Return an erasure of what was predicted until now; `value` is as somebody writes it in a shell."""
    salt, now = secrets.token_hex(16), time.time()
    name = f"{int(now * 1000):012x}{secrets.token_hex(4)}"
    return Erasure(name, use_case, column, salt, _hash(salt, value), _number(salt, value), now)


def _number(salt: str, value: str) -> str:
    try:
        return _hash(salt, repr(float(value)))
    except ValueError:
        return ""


def _hash(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}:{text}".encode()).hexdigest()
