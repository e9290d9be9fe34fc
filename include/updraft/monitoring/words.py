"""The words of a text column as hashes: which words of new texts the training data did not have."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

MAX_WORDS, MIN_TEXTS = 20_000, 3  # a word that fewer texts have may identify a person
WORD = re.compile(r"\w\w+")


class Vocabulary:
    """The most common words of some texts, by a hash of 32 bits each."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self._hashes = frozenset(hashes)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """Take the words that at least MIN_TEXTS texts have, MAX_WORDS at most."""
        counts = Counter(word for text in texts for word in set(words(text)))
        return cls(_hash(word) for word, count in counts.most_common(MAX_WORDS) if count >= MIN_TEXTS)

    @classmethod
    def decode(cls, encoded: str) -> Vocabulary:
        """Read what `encode` wrote."""
        return cls(np.frombuffer(base64.b64decode(encoded), "<u4").tolist())

    def encode(self) -> str:
        """Write the hashes in base64, 4 bytes each, little-endian, sorted."""
        return base64.b64encode(np.array(sorted(self._hashes), "<u4").tobytes()).decode()

    def count_unknown(self, texts: Iterable[str]) -> tuple[int, int]:
        """Count the words of texts, and those of them that are not in the vocabulary."""
        counts = Counter(word for text in texts for word in words(text))
        unknown = sum(count for word, count in counts.items() if _hash(word) not in self._hashes)
        return counts.total(), unknown


def words(text: str) -> list[str]:
    """Split a text into lower-case words of two characters or more, as TF-IDF does."""
    return WORD.findall(text.lower())


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(errors="backslashreplace"), digest_size=4).digest(), "little")
