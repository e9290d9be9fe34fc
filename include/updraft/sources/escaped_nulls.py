"""Fields that mean null by an escape, such as MySQL's \\N, of which a reader of delimited text would leave an N."""

from __future__ import annotations

import re
from collections.abc import Sequence


class EscapedNulls:
    """Doubles the escape of fields that are just a null's marker, so that the marker itself is what is read.

    A text is passed part by part; what may go on in the next one is held back.
    """

    def __init__(self, delimiter: str, escape: str, markers: Sequence[str]) -> None:
        ends = f"{re.escape(delimiter)}\\r\\n"
        either = "|".join(map(re.escape, markers))
        # Pairs of an escape and a character come first: an escaped delimiter ends no field.
        pair = rf"{re.escape(escape)}[\s\S]"
        self._fields = re.compile(rf"(\A|[{ends}])({either})(?=[{ends}]|\Z)|{pair}".encode())
        self._escape, self._held = escape.encode(), b""

    def __call__(self, part: bytes, *, is_last: bool) -> bytes:
        """Return the text so far, up to its last line end that is not escaped; all of it with the last part."""
        text = self._held + part
        whole = len(text) if is_last else _last_line_end(text, len(text))
        while not is_last and whole and self._is_escaped(text, whole - 1):
            whole = _last_line_end(text, whole - 1)
        self._held = text[whole:]
        return self._fields.sub(self._doubled, text[:whole])

    def _is_escaped(self, text: bytes, end: int) -> bool:
        before = text[:end]
        return (len(before) - len(before.rstrip(self._escape))) % 2 == 1

    def _doubled(self, field: re.Match[bytes]) -> bytes:
        return field[1] + self._escape + field[2] if field[2] else field[0]


def _last_line_end(text: bytes, before: int) -> int:
    return max(text.rfind(b"\n", 0, before), text.rfind(b"\r", 0, before)) + 1
